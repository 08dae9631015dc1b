"""Small real networks for tests and benchmarks: trained in PyTorch and exported, written op by op as ONNX, or written as TFLite.

No converter to TFLite shares an environment with this project: litert-torch takes torch, pydantic and typing-extensions back to older
versions, and TensorFlow is a gigabyte for one file. LiteRT ships the schema of its own files, though, and with it a network whose
weights are known is written in a few lines: `TfliteFile` below. The runtime cannot tell such a file from a converter's.
"""
from functools import lru_cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIZE = 32  # Of the trained classifier's input, px
CLASSES = ["lines", "columns", "noise", "blank"]


# Pictures with a known class ------------------------------------------------------------------------------------------------------

def picture(k, seed=0, size=(SIZE, SIZE)):
    "RGB picture of class `k`, `size` as width and height: lines, columns, noise or a blank page, of any colour"
    rng, (w, h) = np.random.default_rng((k, seed)), size
    y, x = np.mgrid[:h, :w] * 8 / max(size)
    ink = [np.sin(y * 4 + rng.uniform(0, 6)) > 0.3, np.sin(x * 4 + rng.uniform(0, 6)) > 0.3, rng.random((h, w)) > 0.5, np.zeros((h, w), bool)][k]
    paper, colour = rng.integers(170, 256, 3), rng.integers(0, 90, 3)
    return np.where(ink[..., None], colour, paper).clip(0, 255).astype(np.uint8)


def pictures(n, seed=1000):
    "`n` pictures of all classes and many sizes"
    rng = np.random.default_rng(seed)
    return [picture(i % 4, seed + i, tuple(rng.integers(20, 150, 2))) for i in range(n)]


# A classifier trained in PyTorch --------------------------------------------------------------------------------------------------

@lru_cache
def trained(seed=0):
    """A small convolutional network that tells the four classes apart, on `(n, 3, 32, 32)` of 0 to 1; gives logits.

    Its convolutions are random, its last layer is fitted to them by least squares: a trained network in half a second.
    """
    import torch
    rng, labels = np.random.default_rng(seed), np.arange(256) % 4
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 24, 3, 2), torch.nn.ReLU(),
                              torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(24, 4)).eval()
    images = torch.tensor(np.stack([picture(int(k), i) for i, k in enumerate(labels)]).transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
    with torch.no_grad():
        for layer in (net[0], net[2]):
            for p in (layer.weight, layer.bias): p.copy_(torch.tensor(rng.uniform(-1, 1, p.shape) / layer.weight[0].numel() ** 0.5))
        x = np.hstack([net[:-1](images).numpy(), np.ones((256, 1))])
        w = np.linalg.solve(x.T @ x + 0.01 * np.eye(25), x.T @ (6 * np.eye(4)[labels]))
        net[-1].weight.copy_(torch.tensor(w[:-1].T)), net[-1].bias.copy_(torch.tensor(w[-1]))
    return net


def export_onnx(path, **options):
    "Write the trained network with PyTorch's own exporter; batches of any size"
    import torch
    torch.onnx.export(trained(), (torch.zeros(2, 3, SIZE, SIZE),), str(path), input_names=["picture"], output_names=["logits"],
                      dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False, **options)


# ONNX, op by op -------------------------------------------------------------------------------------------------------------------

def save_onnx(path, nodes, inputs, outputs, weights=(), metadata=None, ir_version=10, opset=18):
    "Write an ONNX file: nodes as (op, inputs, outputs, attributes), tensors as (name, shape, type), weights as {name: array}"
    types = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8,
             "int64": TensorProto.INT64, "string": TensorProto.STRING}
    values = [[helper.make_tensor_value_info(name, types[dtype], shape) for name, shape, dtype in side] for side in (inputs, outputs)]
    graph = helper.make_graph([helper.make_node(op, i, o, **a) for op, i, o, a in nodes], "made", *values,
                              [numpy_helper.from_array(np.asarray(v), k) for k, v in dict(weights).items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    for k, v in (metadata or {}).items(): model.metadata_props.add(key=k, value=v)
    with open(path, "wb") as f: f.write(model.SerializeToString())
    return str(path)


def classifier_onnx(path, layout="NCHW", dtype="float32", batch="n", channels=3, size=(SIZE, SIZE), softmax=False, metadata=None):
    "A classifier of the trained weights behind any kind of input: pixels of 0 to 255 for integers, of 0 to 1 for floats; `size` is (h, w)"
    w = [p.detach().numpy() for p in trained().parameters()]
    if channels == 1: w[0] = w[0].sum(1, keepdims=True)
    half = np.float16 if dtype == "float16" else np.float32
    weights = {n: v.astype(half) for n, v in zip(("w1", "b1", "w2", "b2", "w3", "b3"), w)} | {"unit": half(1 / 255)}
    nodes, x = [], "picture"
    if dtype in ("uint8", "int8"):
        weights["low"] = half(128 if dtype == "int8" else 0)
        nodes += [("Cast", [x], ["c"], {"to": TensorProto.FLOAT}), ("Add", ["c", "low"], ["d"], {}), ("Mul", ["d", "unit"], ["e"], {})]
        x = "e"
    if layout == "NHWC": nodes.append(("Transpose", [x], ["t"], {"perm": [0, 3, 1, 2]})); x = "t"
    nodes += [("Conv", [x, "w1", "b1"], ["x1"], {"strides": [2, 2]}), ("Relu", ["x1"], ["x2"], {}),
              ("Conv", ["x2", "w2", "b2"], ["x3"], {"strides": [2, 2]}), ("Relu", ["x3"], ["x4"], {}),
              ("GlobalAveragePool", ["x4"], ["x5"], {}), ("Flatten", ["x5"], ["x6"], {}),
              ("Gemm", ["x6", "w3", "b3"], ["x7" if softmax else "scores"], {"transB": 1})]
    if softmax: nodes.append(("Softmax", ["x7"], ["scores"], {}))
    shape = [batch, channels, *size] if layout == "NCHW" else [batch, *size, channels]
    scores = ("scores", [batch, 4], "float16" if dtype == "float16" else "float32")
    return save_onnx(path, nodes, [("picture", shape, dtype)], [scores], weights, metadata)


def mobile_onnx(path, size=224, classes=10, width=32, batch="n", seed=0):
    """A MobileNet-like classifier of untrained weights, logits out: about 0.3 billion multiplications for a picture of 224x224.

    Needs the package onnx alone. Input `picture`, NCHW float32, 0 to 1; the description with the class names is written beside it.
    """
    import json
    from pathlib import Path
    rng, nodes, weights, x, count = np.random.default_rng(seed), [], {}, "picture", 0

    def conv(x, cin, cout, kernel, stride=1, groups=1):
        nonlocal count
        count += 1
        k = f"{count}"
        weights["w" + k] = rng.normal(0, (2 / (cin // groups * kernel**2)) ** 0.5, (cout, cin // groups, kernel, kernel)).astype(np.float32)
        weights["b" + k] = rng.normal(0, 0.1, cout).astype(np.float32)
        nodes.append(("Conv", [x, "w" + k, "b" + k], ["c" + k], {"strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": groups}))
        nodes.append(("Relu", ["c" + k], ["r" + k], {}))
        return "r" + k

    x, c = conv(x, 3, width, 3, 2), width
    for cout, stride in ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), (16, 1), (16, 1), (32, 2)):
        x, c = conv(conv(x, c, c, 3, stride, c), c, width * cout, 1), width * cout
    weights |= {"wd": rng.normal(0, 2 / c**0.5, (classes, c)).astype(np.float32), "bd": np.zeros(classes, np.float32)}
    nodes += [("GlobalAveragePool", [x], ["p"], {}), ("Flatten", ["p"], ["f"], {}), ("Gemm", ["f", "wd", "bd"], ["logits"], {"transB": 1})]
    Path(path).with_suffix(".json").write_text(json.dumps({"classes": [f"class {k}" for k in range(classes)], "scale": 1 / 255}))
    return save_onnx(path, nodes, [("picture", [batch, 3, size, size], "float32")], [("logits", [batch, classes], "float32")], weights)


# Detectors and segmenters: a grid of cells of 8x8 px, each judged by its mean colour -----------------------------------------------

CELL, COLOURS = 8, ["red", "green", "blue"]


def cells(size):
    "Left, top, right, bottom of each cell, px, row by row; `size` is (h, w)"
    y, x = (v.ravel() * CELL for v in np.mgrid[:size[0] // CELL, :size[1] // CELL])
    return np.stack([x, y, x + CELL, y + CELL], 1).astype(np.float32)


def _colour_rows(batch, m, out):
    "Nodes from `picture` to `out`, `(n, m, 3)`: how much a cell is red, green or blue more than it is the others, 0 to 1"
    pure = np.float32(1.5 * np.eye(3) - 0.5).reshape(3, 3, 1, 1)
    return [("AveragePool", ["picture"], ["mean"], {"kernel_shape": [CELL] * 2, "strides": [CELL] * 2}), ("Conv", ["mean", "pure"], ["own"], {}),
            ("Clip", ["own", "zero", "one"], ["clipped"], {}), ("Reshape", ["clipped", "rows"], ["planes"], {}),
            ("Transpose", ["planes"], [out], {"perm": [0, 2, 1]})], {"pure": pure, "zero": np.float32(0), "one": np.float32(1),
                                                                      "rows": np.array([0 if batch is None else batch, 3, m])}


def yolo_onnx(path, size=(32, 48), batch=1, transposed=True, objectness=False, metadata=None):
    "Rows of box (middle and size), perhaps objectness, and a score a colour, for each cell of 8x8 px and, overlapping it, one 2 px wider"
    b, m = cells(size), len(cells(size))
    middle = np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1)
    wide = middle + np.float32([0, 0, 2, 2])
    nodes, weights = _colour_rows(batch, m, "scores")
    weights |= {"boxes": np.tile(middle, (batch, 1, 1)), "wide": np.tile(wide, (batch, 1, 1)), "less": np.float32(0.9),
                "sure": np.full((batch, 2 * m, 1), 0.5, np.float32)}
    nodes += [("Mul", ["scores", "less"], ["lower"], {}), ("Concat", ["scores", "lower"], ["both"], {"axis": 1}),
              ("Concat", ["boxes", "wide"], ["places"], {"axis": 1}),
              ("Concat", ["places", *(["sure"] if objectness else []), "both"], ["out" if not transposed else "found"], {"axis": 2})]
    if transposed: nodes.append(("Transpose", ["found"], ["out"], {"perm": [0, 2, 1]}))
    a = 7 + objectness
    return save_onnx(path, nodes, [("picture", [batch, 3, *size], "float32")],
                     [("out", [batch, a, 2 * m] if transposed else [batch, 2 * m, a], "float32")], weights, metadata)


def separate_onnx(path, size=(32, 48)):
    "Boxes, labels and scores of one picture without a batch axis, only of cells that have a colour, as torchvision's detectors give them"
    m = len(cells(size))
    nodes, weights = _colour_rows(1, m, "rows_")
    weights |= {"cells": cells(size), "flat": np.array([m, 3]), "low": np.float32(0.2), "axis": np.array([1])}
    nodes += [("Reshape", ["rows_", "flat"], ["all"], {}), ("ReduceMax", ["all", "axis"], ["best"], {"keepdims": 0}),
              ("ArgMax", ["all"], ["which"], {"axis": 1, "keepdims": 0}),
              ("Greater", ["best", "low"], ["any"], {}), ("Compress", ["cells", "any"], ["boxes"], {"axis": 0}),
              ("Compress", ["which", "any"], ["labels"], {"axis": 0}), ("Compress", ["best", "any"], ["scores"], {"axis": 0})]
    return save_onnx(path, nodes, [("picture", [1, 3, *size], "float32")],
                     [("boxes", ["m", 4], "float32"), ("labels", ["m"], "int64"), ("scores", ["m"], "float32")], weights)


def segmenter_onnx(path, size=(32, 48), batch="n", numbers=False, layout="NCHW"):
    "Scores of four classes, dark and three colours, for each pixel; or, with `numbers`, the class itself"
    weights = {"w": np.float32(10 * np.concatenate([np.zeros((1, 3)), 1.5 * np.eye(3) - 0.5])).reshape(4, 3, 1, 1), "b": np.float32([1, 0, 0, 0])}
    nodes = [("Conv", ["picture", "w", "b"], ["x" if numbers or layout == "NHWC" else "maps"], {})]
    if numbers: nodes.append(("ArgMax", ["x"], ["maps"], {"axis": 1, "keepdims": 0}))
    elif layout == "NHWC": nodes.append(("Transpose", ["x"], ["maps"], {"perm": [0, 2, 3, 1]}))
    shape = [batch, *size] if numbers else [batch, 4, *size] if layout == "NCHW" else [batch, *size, 4]
    return save_onnx(path, nodes, [("picture", [batch, 3, *size], "float32")], [("maps", shape, "int64" if numbers else "float32")], weights)


# TFLite ---------------------------------------------------------------------------------------------------------------------------

class TfliteFile:
    "Collects tensors and operators, then writes them with the schema that LiteRT ships"
    def __init__(self):
        from ai_edge_litert import schema_py_generated as schema
        self.s, self.tensors, self.ops, self.codes, self.buffers = schema, [], [], [], [schema.BufferT()]

    def tensor(self, name, shape, dtype="float32", data=None, quant=None, signature=None):
        "Add a tensor, with `data` a constant one; `quant` is its scale and zero point. Returns its number"
        s, t = self.s, self.s.TensorT()
        t.name, t.shape, t.type, t.buffer, t.hasRank = name, list(shape), getattr(s.TensorType, dtype.upper()), 0, True
        if data is not None:
            t.buffer = len(self.buffers)
            self.buffers.append(s.BufferT(data=np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)))
        if quant: t.quantization = s.QuantizationParametersT(scale=[quant[0]], zeroPoint=[quant[1]])
        if signature: t.shapeSignature = list(signature)
        self.tensors.append(t)
        return len(self.tensors) - 1

    def op(self, code, inputs, outputs, options=None, custom=None, **fields):
        "Add an operator of the schema's name `code`, its options by field; or a custom one with its options as bytes"
        s, o = self.s, self.s.OperatorT()
        number = getattr(s.BuiltinOperator, "CUSTOM" if custom else code)
        c = s.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, customCode=code if custom else None)
        self.codes.append(c)
        o.opcodeIndex, o.inputs, o.outputs = len(self.codes) - 1, inputs, outputs
        if options: o.builtinOptionsType, o.builtinOptions = getattr(s.BuiltinOptions, options), getattr(s, options + "T")(**fields)
        if custom: o.customOptions = list(custom)
        self.ops.append(o)

    def save(self, path, inputs, outputs):
        import flatbuffers
        s = self.s
        graph = s.SubGraphT(tensors=self.tensors, inputs=inputs, outputs=outputs, operators=self.ops, name="main")
        model = s.ModelT(version=3, operatorCodes=self.codes, subgraphs=[graph], description="made in a test", buffers=self.buffers)
        b = flatbuffers.Builder(1 << 16)
        b.Finish(model.Pack(b), b"TFL3")
        with open(path, "wb") as f: f.write(b.Output())
        return str(path)


def _quant(low, high, dtype):
    "Scale and zero point with which a type of 8 bits covers `low` to `high`"
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = (high - low) / 255
    return scale, int(round(-low / scale)) + (-128 if dtype == "int8" else 0)


def _activations(net, n=64):
    "Least and largest value before and after each layer of the trained network, over pictures of all classes"
    import torch
    x = torch.tensor(np.stack([picture(i % 4, i) for i in range(n)]).transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
    seen = [(0.0, 1.0)]
    with torch.no_grad():
        for layer in net:
            x = layer(x)
            seen.append((float(x.min()), float(x.max())))
    return seen


def classifier_tflite(path, dtype="float32", batch=1, softmax=True):
    "The trained network as TFLite, NHWC; for uint8 and int8 quantised throughout, weights and activations. `batch` None: any"
    net, f = trained(), TfliteFile()
    w1, b1, w2, b2, w3, b3 = (p.detach().numpy() for p in net.parameters())
    seen, quantised = _activations(net), dtype != "float32"

    def value(name, shape, span):
        return f.tensor(name, [batch or 1, *shape], dtype, quant=_quant(*span, dtype) if quantised else None,
                        signature=[-1, *shape] if batch is None else None)

    def constants(name, w, b, x):
        "Weights with the output channel first, and the bias"
        if not quantised: return [f.tensor(name, w.shape, data=w), f.tensor(name + "/bias", b.shape, data=b)]
        scale, low = np.abs(w).max() / 127, 128 if dtype == "uint8" else 0
        stored = (np.clip(np.rint(w / scale), -127, 127) + low).astype(dtype)
        step = scale * f.tensors[x].quantization.scale[0]
        bias = np.rint(b / step).astype(np.int32)
        return [f.tensor(name, w.shape, dtype, stored, (scale, low)), f.tensor(name + "/bias", b.shape, "int32", bias, (step, 0))]

    x = given = value("picture", (SIZE, SIZE, 3), seen[0])
    for name, w, b, side, span in (("conv1", w1, b1, 15, seen[2]), ("conv2", w2, b2, 7, seen[4])):
        y = value(name + "/out", (side, side, len(b)), span)
        f.op("CONV_2D", [x, *constants(name, w.transpose(0, 2, 3, 1), b, x)], [y], "Conv2DOptions", padding=f.s.Padding.VALID, strideW=2, strideH=2,
             fusedActivationFunction=f.s.ActivationFunctionType.RELU)
        x = y
    y = value("pooled", (1, 1, len(b2)), seen[4])
    f.op("AVERAGE_POOL_2D", [x], [y], "Pool2DOptions", padding=f.s.Padding.VALID, strideW=1, strideH=1, filterWidth=7, filterHeight=7)
    logits = value("logits", (4,), seen[7])
    f.op("FULLY_CONNECTED", [y, *constants("dense", w3, b3, y)], [logits], "FullyConnectedOptions")
    if not softmax: return f.save(path, [given], [logits])
    out = f.tensor("scores", [batch or 1, 4], dtype, quant=(1 / 256, -128 if dtype == "int8" else 0) if quantised else None,
                   signature=[-1, 4] if batch is None else None)
    f.op("SOFTMAX", [logits], [out], "SoftmaxOptions", beta=1.0)
    return f.save(path, [given], [out])


def detector_tflite(path, size=(32, 48), most=10):
    "Cells of one colour, through TFLite's own detection postprocessing: boxes, classes, scores, count"
    from flatbuffers import flexbuffers
    f, (h, w) = TfliteFile(), size
    m, rows, columns = len(cells(size)), h // CELL, w // CELL
    x = f.tensor("picture", [1, h, w, 3])
    mean, own = f.tensor("mean", [1, rows, columns, 3]), f.tensor("own", [1, rows, columns, 4])
    f.op("AVERAGE_POOL_2D", [x], [mean], "Pool2DOptions", padding=f.s.Padding.VALID, strideW=CELL, strideH=CELL,
         filterWidth=CELL, filterHeight=CELL)
    pure = np.concatenate([np.zeros((1, 3)), 1.5 * np.eye(3) - 0.5]).astype(np.float32).reshape(4, 1, 1, 3)  # the first is the background
    weights = [f.tensor("pure", pure.shape, data=pure), f.tensor("bias", [4], data=np.zeros(4, np.float32))]
    f.op("CONV_2D", [mean, *weights], [own], "Conv2DOptions", padding=f.s.Padding.VALID, strideW=1, strideH=1,
         fusedActivationFunction=f.s.ActivationFunctionType.RELU)
    scores = f.tensor("rows", [1, m, 4])
    f.op("RESHAPE", [own, f.tensor("shape", [3], "int32", np.int32([1, m, 4]))], [scores], "ReshapeOptions", newShape=[1, m, 4])
    b = cells(size) / np.float32([w, h, w, h])
    anchors = np.stack([(b[:, 1] + b[:, 3]) / 2, (b[:, 0] + b[:, 2]) / 2, b[:, 3] - b[:, 1], b[:, 2] - b[:, 0]], 1).astype(np.float32)
    shift = np.zeros((1, m, 4), np.float32)
    out = [f.tensor("found" + (f":{i}" if i else ""), shape) for i, shape in enumerate(([1, most, 4], [1, most], [1, most], [1]))]
    options = flexbuffers.Builder()
    with options.Map():
        for k, v in dict(max_detections=most, max_classes_per_detection=1, detections_per_class=most, num_classes=3).items(): options.Int(k, v)
        for k in ("y_scale", "x_scale", "h_scale", "w_scale"): options.Float(k, 10.0)
        options.Float("nms_score_threshold", 0.1), options.Float("nms_iou_threshold", 0.6)
        options.Bool("use_regular_nms", False)
    f.op("TFLite_Detection_PostProcess", [f.tensor("shift", shift.shape, data=shift), scores, f.tensor("anchors", anchors.shape, data=anchors)], out,
         custom=options.Finish())
    return f.save(path, [x], out)


def two_inputs_onnx(path):
    return save_onnx(path, [("Add", ["a", "b"], ["out"], {})], [(n, [1, 3, 8, 8], "float32") for n in "ab"], [("out", [1, 3, 8, 8], "float32")])


def passing_onnx(path, shape, dtype="float32", op="Identity"):
    "A network that gives back what it is given"
    return save_onnx(path, [(op, ["x"], ["y"], {})], [("x", shape, dtype)], [("y", shape, dtype)])
