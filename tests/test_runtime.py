"Models made here, exported or written op by op, give through our runtime what their own runtimes give; what makes no sense is told"
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from ai_edge_litert.interpreter import Interpreter
from models_made import (
    CLASSES,
    COLOURS,
    SIZE,
    classifier_onnx,
    classifier_tflite,
    detector_tflite,
    export_onnx,
    mobile_onnx,
    passing_onnx,
    picture,
    pictures,
    save_onnx,
    segmenter_onnx,
    separate_onnx,
    trained,
    two_inputs_onnx,
    yolo_onnx,
)

from ocr_quality.core import MissingExtraError, ModelError, PageError
from ocr_quality.judge.profile import Profile
from ocr_quality.models.answers import NO_NAME, NOT_A_NUMBER, NOT_ONE
from ocr_quality.models.boxes import detect_yolo
from ocr_quality.models.model_spec import make_spec, save_spec
from ocr_quality.models.preprocess import Placed
from ocr_quality.models.runtime import load_model

NAMES = {"classes": CLASSES}


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_hand(image, size=(SIZE, SIZE)):
    "`(1, 3, h, w)` of 0 to 1, made with OpenCV and numpy alone"
    (h, w), (W, H) = image.shape[:2], size
    if w > W or h > H: image = cv2.resize(image, (min(w, W), min(h, H)), interpolation=cv2.INTER_AREA)
    return (cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)[None] / 255).astype(np.float32)


def onnxruntime_says(path, batch):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def litert_says(path, batch):
    "Scores for each input of `batch`, dequantised"
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    given, told = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scores = []
    for x in batch:
        interpreter.set_tensor(given["index"], x[None])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(told["index"])[0])
    scale, zero = told["quantization"]
    return (np.stack(scores).astype(np.float64) - zero) * scale if scale else np.stack(scores)


def same(answers, scores, within=1e-4):
    "Classes equal, confidences within a tolerance"
    assert [a.reason for a in answers] == [None] * len(answers)
    assert [a.predicted for a in answers] == [CLASSES[k] for k in scores.argmax(1)]
    np.testing.assert_allclose([a.confidence for a in answers], scores.max(1), atol=within)
    np.testing.assert_allclose(np.stack([a.scores for a in answers]), scores, atol=within)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    "The trained network as PyTorch exports it, its weights in a file beside it"
    path = tmp_path_factory.mktemp("exported") / "claims.onnx"
    export_onnx(path, external_data=True)
    assert path.with_name("claims.onnx.data").exists()
    path.with_name("model.json").write_text(json.dumps(NAMES))
    return path


# The same as their own runtimes ---------------------------------------------------------------------------------------------------

def test_an_exported_classifier_says_what_onnxruntime_and_pytorch_say(exported):
    import torch
    model, images = load_model(exported), pictures(24)
    batch = np.concatenate([by_hand(i) for i in images])
    ours = np.stack([model.prepare(i) for i in images])
    assert np.abs(ours - batch).max() < 1.01 / 255  # a grey level of rounding
    answers = model.predict(images)
    same(answers, softmax(onnxruntime_says(exported, ours)))
    with torch.no_grad(): same(answers, softmax(trained()(torch.tensor(ours)).numpy()))
    same(answers, softmax(onnxruntime_says(exported, batch)), within=0.02)
    truth = [CLASSES[i % 4] for i in range(len(images))]
    assert np.mean([a.predicted == t for a, t in zip(answers, truth)]) > 0.9 and len({a.predicted for a in answers}) == 4
    assert (model.kind, model.task, model.input_size, model.classes, model.name) == ("onnx", "classification", (SIZE, SIZE), CLASSES, "claims")


@pytest.mark.parametrize(("dtype", "batch", "softmaxed"), [("float32", 1, True), ("float32", None, True), ("float32", 1, False), ("float32", 3, True),
                                                           ("int8", 1, True), ("uint8", 1, True)])
def test_a_tflite_classifier_says_what_litert_says(tmp_path, dtype, batch, softmaxed):
    path, images = classifier_tflite(tmp_path / "claims.tflite", dtype, batch, softmaxed), pictures(13)
    model = load_model(path, NAMES)
    ours = np.stack([model.prepare(i) for i in images])
    assert ours.dtype == dtype and ours.shape[1:] == (SIZE, SIZE, 3)
    alone = path if batch != 3 else classifier_tflite(tmp_path / "alone.tflite")
    scores = litert_says(alone, ours)
    same(model.predict(images), scores if softmaxed else softmax(scores))


def test_the_two_formats_agree(exported, tmp_path):
    images = pictures(24)
    onnx, tflite = load_model(exported).predict(images), load_model(classifier_tflite(tmp_path / "c.tflite"), NAMES).predict(images)
    same(tflite, np.stack([a.scores for a in onnx]))
    rough = load_model(classifier_tflite(tmp_path / "q.tflite", "int8"), NAMES).predict(images)
    assert np.mean([a.predicted == b.predicted for a, b in zip(onnx, rough)]) > 0.85  # what quantisation costs this network


# Every kind of input --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_layouts_types_and_batches_give_the_same(tmp_path, layout, dtype, batch):
    images = pictures(11)
    reference = load_model(classifier_onnx(tmp_path / "r.onnx"), NAMES).predict(images)
    model = load_model(classifier_onnx(tmp_path / "m.onnx", layout, dtype, batch), NAMES)
    assert (model.spec.layout, model.spec.dtype, model.spec.scores) == (layout, dtype, "logits")
    scores = np.stack([a.scores for a in reference])
    if dtype != "float16": return same(model.predict(images), scores)
    np.testing.assert_allclose([a.scores for a in model.predict(images)], scores, atol=0.03)


def test_a_grey_input_is_the_grey_of_the_picture(tmp_path):
    images = pictures(8)
    grey = load_model(classifier_onnx(tmp_path / "g.onnx", channels=1), NAMES)
    assert grey.spec.channels == "grey" and grey.prepare(images[0]).shape == (1, SIZE, SIZE)
    colour = load_model(classifier_onnx(tmp_path / "c.onnx"), NAMES)
    flat = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in images]
    np.testing.assert_allclose([a.scores for a in grey.predict(flat)], [a.scores for a in colour.predict(flat)], atol=1e-4)
    np.testing.assert_allclose(grey.prepare(images[3]), grey.prepare(flat[3]), atol=1.01 / 255)


def test_bgr_mean_and_sd_as_stated(tmp_path):
    path, images = classifier_onnx(tmp_path / "c.onnx"), pictures(8)
    bgr = load_model(path, NAMES | {"channels": "BGR"}).predict(images)
    flipped = load_model(path, NAMES).predict([i[:, :, ::-1] for i in images])
    same(bgr, np.stack([a.scores for a in flipped]))
    spec = NAMES | {"mean": [0.485, 0.456, 0.406], "sd": [0.229, 0.224, 0.225]}
    batch = np.concatenate([by_hand(cv2.resize(i, (SIZE, SIZE))) for i in images])
    ready = ((batch - np.reshape(spec["mean"], (3, 1, 1))) / np.reshape(spec["sd"], (3, 1, 1))).astype(np.float32)
    same(load_model(path, spec).predict([cv2.resize(i, (SIZE, SIZE)) for i in images]), softmax(onnxruntime_says(path, ready)))


def test_an_open_size_is_that_of_the_description(tmp_path):
    path = classifier_onnx(tmp_path / "c.onnx", size=("h", "w"))
    model = load_model(path, NAMES | {"size": [48, 40]})
    assert model.input_size == (48, 40) and model.prepare(picture(0)).shape == (3, 40, 48)
    same(model.predict([picture(1, 5, (48, 40))]), softmax(onnxruntime_says(path, by_hand(picture(1, 5, (48, 40)), (48, 40)))))


def test_a_model_that_only_claims_to_take_several_pictures_is_asked_one_by_one(tmp_path):
    nodes = [("GlobalAveragePool", ["x"], ["m"], {}), ("Reshape", ["m", "shape"], ["y"], {})]
    path = save_onnx(tmp_path / "m.onnx", nodes, [("x", ["n", 3, 8, 8], "float32")], [("y", ["n", 3], "float32")], {"shape": np.array([1, 3])})
    model = load_model(path, {"scores": "independent"})
    assert any("one after the other" in n for n in model.notes)
    red = np.zeros((9, 9, 3), np.uint8)
    red[..., 0] = 200
    assert [a.predicted for a in model.predict([red, red[:, :, ::-1], red])] == ["0", "2", "0"]


def test_run_takes_any_number_of_inputs(tmp_path):
    for batch in ("n", 1, 4):
        model = load_model(classifier_onnx(tmp_path / f"{batch}.onnx", batch=batch), NAMES)
        inputs = np.stack([model.prepare(i) for i in pictures(9)])
        [scores] = model.run(inputs)
        np.testing.assert_allclose(softmax(scores), [a.scores for a in model.predict(pictures(9))], atol=1e-5)
    with pytest.raises(ModelError, match="run one after the other"):
        load_model(separate_onnx(tmp_path / "d.onnx")).run(np.zeros((2, 3, 32, 48), np.float32))


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_pictures_made_ready_one_by_one_are_answered_as_together(tmp_path, batch):
    model, images = load_model(classifier_onnx(tmp_path / "m.onnx", batch=batch), NAMES), pictures(9)
    same(model.answer([model.ready(i) for i in images]), np.stack([a.scores for a in model.predict(images)]), 1e-5)
    boxes = load_model(yolo_onnx(tmp_path / "y.onnx", size=(96, 144)), {"form": "yolo", "classes": COLOURS, "fit": "letterbox"})
    large, small = coloured((1, 2, "green"), size=(600, 400)), coloured((0, 0, "red"))
    assert boxes.answer([boxes.ready(large), boxes.ready(small)]) == boxes.predict([large, small])


@pytest.mark.parametrize(("make", "options"), [(classifier_onnx, {}), (classifier_tflite, {}), (classifier_tflite, {"batch": None})])
def test_several_threads_at_once_say_the_same_as_one(tmp_path, make, options):
    path = make(tmp_path / ("m.onnx" if make is classifier_onnx else "m.tflite"), **options)
    model, images = load_model(path, NAMES, threads=1), pictures(60)
    alone = [model.predict([i])[0] for i in images]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns between any two steps, not only every 5 ms
    try:
        with ThreadPoolExecutor(8) as pool:
            together = [a for part in pool.map(model.predict, [images[i:i + 1 + i % 5] for i in range(0, 60)]) for a in part[:1]]
    finally: sys.setswitchinterval(usual)
    same(together, np.stack([a.scores for a in alone]), 1e-5)


# Detection and segmentation -------------------------------------------------------------------------------------------------------

def coloured(*spots, size=(96, 64)):
    "A black picture, `size` as width and height, with cells of a grid of 6x4 in pure colours: (column, row, colour)"
    image = np.zeros((size[1], size[0], 3), np.uint8)
    w, h = size[0] // 6, size[1] // 4
    for x, y, c in spots: image[y * h:(y + 1) * h, x * w:(x + 1) * w, COLOURS.index(c)] = 255
    return image


DETECTORS = {
    "yolo": (yolo_onnx, {}, {"form": "yolo"}), "yolo rows": (yolo_onnx, {"transposed": False}, {"form": "yolo"}),
    "yolo objectness": (yolo_onnx, {"objectness": True}, {"form": "yolo"}), "yolo batch": (yolo_onnx, {"batch": 2}, {"form": "yolo"}),
    "separate": (separate_onnx, {}, {}), "tflite": (detector_tflite, {}, {})}


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_find_the_cells_that_have_a_colour(tmp_path, name):
    make, options, spec = DETECTORS[name]
    model = load_model(make(tmp_path / ("m.tflite" if name == "tflite" else "m.onnx"), **options), {"classes": COLOURS, **spec})
    assert model.task == "detection"
    answers = model.predict([coloured((0, 0, "blue"), (3, 1, "red"), (5, 3, "red")), coloured(), coloured((1, 2, "green"), size=(600, 400))])
    assert [a.predicted for a in answers] == [{"blue": 1, "red": 2}, {}, {"green": 1}] and not any(a.reason for a in answers)
    sure = 0.5 if "objectness" in name else 1
    assert answers[0].confidence == pytest.approx(sure, abs=1e-3) and np.isnan(answers[1].confidence)
    at = {(b.name, *np.round([b.x1, b.y1, b.x2, b.y2], 2)) for a in answers for b in a.boxes}
    assert at == {("blue", 0, 0, 16, 16), ("red", 48, 16, 64, 32), ("red", 80, 48, 96, 64), ("green", 100, 200, 200, 300)}
    assert [b.share for b in answers[2].boxes] == [pytest.approx(1 / 24, rel=1e-4)]
    frame = pd.DataFrame([a.row() for a in answers])
    assert frame.boxes.tolist() == [3, 0, 1] and frame.box_area.round(4).fillna(-1).tolist() == [0.0417, -1, 0.0417]


def test_a_letterbox_leads_boxes_and_areas_back(tmp_path):
    wide = coloured((0, 0, "blue"), (3, 1, "red"), size=(96, 64))
    tall = np.concatenate([wide, np.zeros((128, 96, 3), np.uint8)])  # three times as high: it fills a third of the input's width
    model = load_model(yolo_onnx(tmp_path / "m.onnx", size=(96, 144)), {"form": "yolo", "classes": COLOURS, "fit": "letterbox", "pad": 0})
    for image in (wide, tall):
        [answer] = model.predict([image])
        assert set(answer.predicted) == {"blue", "red"}
        for b in answer.boxes:  # each found cell lies within the coloured one
            x, y = (0, 0) if b.name == "blue" else (48, 16)
            assert x - 1e-6 <= b.x1 <= b.x2 <= x + 16 + 1e-6 and y - 1e-6 <= b.y1 <= b.y2 <= y + 16 + 1e-6
    model = load_model(segmenter_onnx(tmp_path / "s.onnx"), {"classes": ["dark", *COLOURS], "fit": "letterbox", "pad": 255})
    [answer] = model.predict([np.full((100, 50, 3), (0, 255, 0), np.uint8)])
    assert answer.areas == {"green": 1.0}


@pytest.mark.parametrize(("options", "spec"), [({}, {}), ({"layout": "NHWC"}, {}), ({"batch": 1}, {}), ({"batch": 4}, {}), ({"numbers": True}, {})])
def test_segmenters_tell_how_much_each_class_covers(tmp_path, options, spec):
    model = load_model(segmenter_onnx(tmp_path / "m.onnx", **options), {"classes": ["dark", *COLOURS], **spec})
    assert model.task == "segmentation"
    first, second = model.predict([coloured((0, 0, "blue"), (3, 1, "red"), (5, 3, "red")), coloured(size=(30, 20))])
    assert first.predicted == first.areas == {"dark": 21 / 24, "red": 2 / 24, "blue": 1 / 24} and second.predicted == {"dark": 1.0}
    if options.get("numbers"): return np.testing.assert_equal(first.confidence, np.nan)
    dark, pure = np.e / (np.e + 3), softmax(np.array([1, 10, -5, -5.]))[1]  # the scores of a black pixel are 1, 0, 0, 0
    assert first.confidence == pytest.approx((21 * dark + 3 * pure) / 24, abs=1e-5) and second.confidence == pytest.approx(dark, abs=1e-5)


def test_overlapping_boxes_are_joined_as_by_hand():
    rng = np.random.default_rng(4)
    spec = make_spec({"size": [100, 100], "classes": ["a", "b"], "boxes": "xyxy", "unit": "px", "max_overlap": 0.4})
    for _ in range(20):
        corner, side = rng.uniform(0, 70, (40, 2)), rng.uniform(5, 30, (40, 2))
        boxes, scores = np.concatenate([corner, corner + side], 1), rng.uniform(0, 1, (40, 2))
        [answer] = detect_yolo(np.concatenate([boxes, scores], 1)[None].astype(np.float32), spec, [Placed(100, 100, 0, 0, 100, 100, (100, 100))])
        best, k, kept = scores.max(1), scores.argmax(1), []
        for i in np.argsort(-best):
            if best[i] < 0.25: break
            def shared(a, b):
                both = np.prod(np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])))
                return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)
            if all(k[i] != k[j] or shared(boxes[i], boxes[j]) <= 0.4 for j in kept): kept.append(i)
        np.testing.assert_allclose(sorted(b.confidence for b in answer.boxes), sorted(best[kept]), rtol=1e-5)


# What makes no sense --------------------------------------------------------------------------------------------------------------

def shares_onnx(path):
    "Says what share of a picture's light is red, green and blue, which for a black picture is nought by nought"
    nodes = [("GlobalAveragePool", ["x"], ["m"], {}), ("Flatten", ["m"], ["f"], {}), ("ReduceSum", ["f", "axis"], ["sum"], {"keepdims": 1}),
             ("Div", ["f", "sum"], ["y"], {})]
    return save_onnx(path, nodes, [("x", ["n", 3, 8, 8], "float32")], [("y", ["n", 3], "float32")], {"axis": np.array([1])})


def test_scores_that_make_no_sense_are_counted_and_the_others_stand(tmp_path, monkeypatch):
    images = [np.full((9, 9, 3), v, np.uint8) for v in ((200, 30, 30), (0, 0, 0), (30, 30, 200))]
    model = load_model(shares_onnx(tmp_path / "m.onnx"), {"classes": COLOURS})
    assert model.spec.scores == "probabilities"
    answers = model.predict(images)
    assert [(a.predicted, a.reason) for a in answers] == [("red", None), (None, NOT_A_NUMBER), ("blue", None)]
    assert np.isnan(answers[1].confidence) and np.isnan(answers[1].scores).all()
    means = load_model(save_onnx(tmp_path / "n.onnx", [("GlobalAveragePool", ["x"], ["m"], {}), ("Flatten", ["m"], ["y"], {})],
                                 [("x", ["n", 3, 8, 8], "float32")], [("y", ["n", 3], "float32")]), {"classes": COLOURS, "scores": "probabilities"})
    third = [np.full((9, 9, 3), v, np.uint8) for v in (85, 200)]  # a third each sums to one
    answers += means.predict(third)
    assert [a.reason for a in answers[3:]] == [None, NOT_ONE]
    rows = [a.row() | {"uri": str(i), "width": 9, "height": 9, "reason": None} for i, a in enumerate(answers)]
    profile = Profile.of(pd.DataFrame(rows), None, {"name": "m", "checksum": "x"}, "test", None)
    assert profile.predictions == 3 and profile.troubles == {NOT_A_NUMBER: 1, NOT_ONE: 1}


def test_a_class_beyond_the_names_is_told(tmp_path):
    model = load_model(separate_onnx(tmp_path / "d.onnx"), {"classes": COLOURS[:1]})
    red, both = model.predict([coloured((0, 0, "red")), coloured((0, 0, "red"), (1, 1, "blue"))])
    assert (red.predicted, both.predicted, both.reason) == ({"red": 1}, None, NO_NAME) and [b.name for b in both.boxes] == ["red"]
    model = load_model(segmenter_onnx(tmp_path / "s.onnx", numbers=True), {"classes": ["dark", "red"]})
    assert [a.reason for a in model.predict([coloured(), coloured((0, 0, "blue"))])] == [None, NO_NAME]


REFUSED = {
    "two inputs": (two_inputs_onnx, {}, "one input"),
    "five axes": (lambda p: passing_onnx(p, [1, 3, 8, 64, 64]), {}, "4 axes"),
    "open size": (lambda p: classifier_onnx(p, size=("h", "w")), {}, "state size"),
    "text": (lambda p: passing_onnx(p, [1, 3, 8, 8], "string"), {}, "x string"),
    "whole numbers": (lambda p: passing_onnx(p, [1, 3, 8, 8], "int64"), {}, "x int64"),
    "four channels": (lambda p: passing_onnx(p, [1, 4, 8, 8]), {}, "1 or 3 channels"),
    "no answer": (lambda p: yolo_onnx(p), {}, "state task"),
    "yolo without names": (lambda p: yolo_onnx(p), {"form": "yolo"}, "state classes"),
    "yolo with other names": (lambda p: yolo_onnx(p), {"form": "yolo", "classes": ["a"]}, "rows of 5 or 6 numbers"),
    "neither logits nor probabilities": (lambda p: save_onnx(p, [("GlobalAveragePool", ["x"], ["m"], {}), ("Flatten", ["m"], ["y"], {})],
        [("x", ["n", 3, 8, 8], "float32")], [("y", ["n", 3], "float32")]), {}, "state scores"),
    "other size": (classifier_onnx, {"size": [64, 64]}, "correct size"),
    "other layout": (classifier_onnx, {"layout": "NHWC"}, "correct layout"),
    "other type": (classifier_onnx, {"dtype": "uint8"}, "correct dtype"),
    "other channels": (classifier_onnx, {"channels": "grey"}, "correct channels"),
    "other names": (classifier_onnx, {"classes": ["a", "b"]}, "names for 4 classes, got 2"),
    "other task": (classifier_onnx, {"task": "detection"}, "expected"),
    "other outputs": (classifier_onnx, {"outputs": {"scores": "logit"}}, "correct outputs"),
    "unknown word": (classifier_onnx, {"softmax": True}, "got 'softmax'"),
    "impossible value": (classifier_onnx, {"scale": "big"}, "scale"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_understood_or_contradicts_its_description_says_what_to_do(tmp_path, case):
    make, spec, told = REFUSED[case]
    path = make(tmp_path / "m.onnx")
    with pytest.raises(ModelError) as e: load_model(path, spec)
    assert told in str(e.value) and "expected" in str(e.value) and ", got " in str(e.value) and ";" in str(e.value), e.value


@pytest.mark.parametrize(("name", "content", "told"), [
    ("m.pt", b"PK", "torch.onnx.export"), ("m.PTH", b"", "torch.onnx.export"), ("m.pkl", b"\x80", "pickle"), ("m.h5", b"", "TFLiteConverter"),
    ("m.joblib", b"", "skl2onnx"), ("m.bin", b"", "got .bin"), ("model", b"", "no suffix"), ("m.onnx", b"", "an empty file"),
    ("m.tflite", b"", "an empty file"), ("m.onnx", b"rubbish" * 99, "onnxruntime can load"), ("m.tflite", b"rubbish" * 99, "a file that begins"),
    ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(99), "LiteRT")])
def test_files_that_are_no_model(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=told): load_model(tmp_path / name)


def test_no_file_a_folder_and_the_other_format(tmp_path):
    with pytest.raises(ModelError, match="not found"): load_model(tmp_path / "gone.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match="not a file"): load_model(tmp_path / "folder.onnx")
    Path(classifier_tflite(tmp_path / "c.tflite")).rename(tmp_path / "c.onnx")
    with pytest.raises(ModelError, match="onnxruntime can load"): load_model(tmp_path / "c.onnx")
    with pytest.raises(ValueError, match="threads"): load_model(tmp_path / "c.onnx", threads=-1)


def test_a_picture_that_is_none_is_refused(tmp_path):
    model = load_model(classifier_onnx(tmp_path / "m.onnx"), NAMES)
    assert model.predict([]) == []
    for wrong in (np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8), "page.png", None):
        with pytest.raises(PageError, match="decode it first"): model.predict([picture(0), wrong])


FUZZ = """
import random, sys
from pathlib import Path
import numpy as np
from ocr_quality.core import ModelError
from ocr_quality.models.runtime import load_model
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
data, chance, counts = source.read_bytes(), random.Random(1), [0, 0]
for i in range(60):
    part = bytearray(data[:chance.randrange(len(data))])
    if source.suffix == ".onnx" and i % 2:
        part = bytearray(data)
        for _ in range(chance.choice((1, 3, 30))): part[chance.randrange(len(part))] = chance.randrange(256)
    path = folder / f"x{source.suffix}"
    path.write_bytes(part)
    try: load_model(path).predict([np.zeros((20, 30, 3), np.uint8)]); counts[0] += 1
    except ModelError as e:
        assert "expected" in str(e) and ", got " in str(e), e
        counts[1] += 1
print(counts)
"""


@pytest.mark.parametrize("make", [classifier_onnx, classifier_tflite, detector_tflite])
def test_cut_and_damaged_files_are_errors_and_no_crash(tmp_path, make):
    path = make(tmp_path / ("m.onnx" if make is classifier_onnx else "m.tflite"))
    done = subprocess.run([sys.executable, "-c", FUZZ, path, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    fine, refused = json.loads(done.stdout)  # nothing but our own line: the runtimes are quiet on stdout
    assert refused >= 30 and fine + refused == 60


def test_a_name_that_is_no_text_is_an_error_and_nothing_is_printed(tmp_path, capfd):
    path = Path(classifier_onnx(tmp_path / "m.onnx"))
    data = path.read_bytes()
    for name in (b"picture", b"GlobalAveragePool"):
        path.write_bytes(data.replace(name, b"\xff\xfe" + name[2:]))
        with pytest.raises(ModelError, match="onnxruntime can load"): load_model(path)
    assert capfd.readouterr().out == ""


# The file and what lies beside it -------------------------------------------------------------------------------------------------

def test_the_checksum_is_that_of_the_content(tmp_path, exported):
    path = Path(classifier_onnx(tmp_path / "a.onnx"))
    model = load_model(path, NAMES)
    assert model.checksum == hashlib.sha256(path.read_bytes()).hexdigest()[:16] and model.identity == {"name": "a", "checksum": model.checksum}
    path.rename(tmp_path / "b.onnx")
    assert load_model(tmp_path / "b.onnx", NAMES).checksum == model.checksum
    for name in ("claims.onnx", "claims.onnx.data"): (tmp_path / name).write_bytes(exported.with_name(name).read_bytes())
    before = load_model(tmp_path / "claims.onnx", NAMES)
    weights = bytearray((tmp_path / "claims.onnx.data").read_bytes())
    weights[3] ^= 1
    (tmp_path / "claims.onnx.data").write_bytes(weights)
    assert load_model(tmp_path / "claims.onnx", NAMES).checksum != before.checksum
    (tmp_path / "claims.onnx.data").unlink()
    with pytest.raises(ModelError, match="claims.onnx.data"): load_model(tmp_path / "claims.onnx", NAMES)


def test_descriptions_beside_the_model_and_what_the_file_says_itself(tmp_path):
    path = classifier_onnx(tmp_path / "a.onnx", metadata={"names": str(dict(enumerate(CLASSES)))})
    assert load_model(path).classes == CLASSES
    (tmp_path / "names.txt").write_text("\n".join("abcd") + "\n")
    (tmp_path / "model.json").write_text('{"classes": "names.txt"}')
    assert load_model(path).classes == list("abcd")
    (tmp_path / "a.json").write_text('{"classes": ["x", "y", "z", "w"], "mean": [0.5], "sd": [0.5]}')
    model = load_model(path)
    assert model.classes == list("xyzw") and model.spec.mean == (0.5,) and not model.notes
    assert load_model(path, str(tmp_path / "model.json")).classes == list("abcd")
    save_spec(path, model.spec)
    again, images = load_model(path), pictures(4)
    assert again.spec == model.spec
    np.testing.assert_array_equal([a.scores for a in again.predict(images)], [a.scores for a in model.predict(images)])
    yolo = load_model(yolo_onnx(tmp_path / "y.onnx", metadata={"names": str(dict(enumerate(COLOURS))), "task": "detect"}), {})
    assert (yolo.task, yolo.classes, yolo.spec.fit, yolo.spec.form) == ("detection", COLOURS, "letterbox", "yolo")
    tflite = Path(classifier_tflite(tmp_path / "t.tflite"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z: z.writestr("labels.txt", "\n".join(CLASSES))
    tflite.write_bytes(tflite.read_bytes() + packed.getvalue())
    assert load_model(tflite, {}).classes == CLASSES


def test_nameless_classes_are_numbers_and_noted(tmp_path):
    model = load_model(classifier_onnx(tmp_path / "m.onnx"))
    assert model.classes is None and model.predict([picture(2)])[0].predicted in list("0123")
    assert "Nothing names the classes; they are called by their numbers." in model.notes


def test_a_model_in_a_bucket_with_its_weights_and_description(bucket, exported):
    for path in exported.parent.iterdir(): bucket.upload_file(str(path), "scans", f"models/{path.name}")
    model, images = load_model("s3://scans/models/claims.onnx"), pictures(6)
    local = load_model(exported)
    assert model.identity == local.identity and model.classes == CLASSES
    same(model.predict(images), np.stack([a.scores for a in local.predict(images)]), 1e-6)
    with pytest.raises(ModelError, match="not found"): load_model("s3://scans/models/other.onnx")


def test_without_the_extra_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    paths = classifier_onnx(tmp_path / "m.onnx"), classifier_tflite(tmp_path / "m.tflite")
    for name in ("onnxruntime", "ai_edge_litert.interpreter"): monkeypatch.setitem(sys.modules, name, None)
    for path in paths:
        with pytest.raises(MissingExtraError, match=r"ocr_quality\[models\]"): load_model(path)


def test_nothing_heavy_is_imported_before_a_model_is_loaded():
    code = ("import sys, ocr_quality.models.runtime; "
            "sys.exit(any(m in sys.modules for m in ('onnxruntime', 'ai_edge_litert', 'torch', 'onnx', 'boto3', 'obstore')))")
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_network_for_benchmarks_runs(tmp_path):
    model = load_model(mobile_onnx(tmp_path / "m.onnx", size=96))
    first, second = model.predict([picture(0, 1, (300, 200)), picture(2, 2, (90, 400))])
    assert model.spec.scores == "logits" and first.reason is None and first.predicted in model.classes
    assert np.abs(first.scores - second.scores).max() > 1e-3
