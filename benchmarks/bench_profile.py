"""Profiling a folder of colour JPEGs beside decoding them: pixel statistics, quality metrics, a model; one thread; and peak memory.

    python benchmarks/bench_profile.py [--count 1000] [--rounds 3]

The pages of 1 megapixel are drawn by the package's own generator on tinted paper with grain, and pass through JPEG. Each side of a ratio is
run in turn within a round, in one process; a ratio is the median of the rounds', by the clock and by the processor time of all threads, which
a busy machine disturbs less. The model is a small convolutional network for 224 x 224 pixels,
run by onnxruntime in one thread; where it or the package onnx is not installed it is left out. Memory is that of processes of their own.
"""
import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

EARLIER = "50 to 100"  # ms an image, as the system this grew from states it
SIZES = (200, 2000)

CHILD = """
import sys
from ocr_quality.jobs.look import profile_images
profile_images(sys.argv[1], [] if sys.argv[2] == "pixels" else None, workers=2)
print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def sheets(n: int = 16) -> list[bytes]:
    "Colour JPEGs of about 1 megapixel"
    from ocr_quality import synth
    rng, found = np.random.default_rng(0), []
    for seed in range(n):
        gray = synth.page(seed, dpi=105).gray
        tint = rng.uniform(0.85, 1, 3)
        page = np.clip(gray[..., None] * tint + rng.normal(0, 2, (*gray.shape, 3)), 0, 255).astype(np.uint8)
        found.append(cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return found


def folder_of(top: Path, pages: list[bytes], count: int) -> list[Path]:
    "A folder of `count` pages"
    top.mkdir(parents=True)
    for i in range(count): (top / f"{i:05d}.jpg").write_bytes(pages[i % len(pages)])
    return sorted(top.iterdir())


def now() -> np.ndarray:
    "The clock, and the processor time of all threads, seconds"
    return np.array([time.perf_counter(), time.process_time()])


def decoded(files: list[Path], then=lambda rgb: None) -> np.ndarray:
    "Seconds of reading and decoding files in colour with OpenCV, and doing something with each"
    start = now()
    for file in files: then(cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR))
    return now() - start


def profiled(files: list[Path], metrics=None, model=None) -> np.ndarray:
    "Seconds of profiling the folder of `files` in one thread"
    from ocr_quality.jobs.look import profile_images
    start = now()
    assert profile_images(str(files[0].parent), metrics, model, workers=1).readable == len(files)
    return now() - start


def compare(what: str, aim: float, rounds: int, count: int, ours, theirs) -> None:
    "Run both sides in turn and print them"
    pairs = [(theirs(), ours()) for _ in range(rounds)]
    ratio, cpu = np.median([b / a for a, b in pairs], axis=0)
    a, b = (min(p[i][0] for p in pairs) / count * 1e3 for i in (0, 1))
    print(f"  {what}: {b:.2f} ms an image, {ratio:.2f} times {a:.2f} ms, {cpu:.2f} times its processor time "
          f"(aim: at most {aim:g}{'' if min(ratio, cpu) <= aim else '; MISSED'})", flush=True)


def with_model(files: list[Path], rounds: int, top: Path) -> None:
    "The model's part, 8 images at a time: beside decoding and asking `models.runtime`, and beside onnxruntime alone, whose inputs are ready"
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    try: made = importlib.import_module("models_made")
    except ImportError as e: return print(f"  with a model: left out, {e.name} is not here")
    from ocr_quality.models.runtime import load_model
    model = load_model(made.mobile_onnx(top / "mobile.onnx"), threads=1)
    batch = np.stack([model.prepare(cv2.imread(str(files[0]))[..., ::-1])] * 8)
    def own() -> np.ndarray:
        start = now()
        for _ in range(len(files) // 8): model.run(batch)
        return now() - start
    own()
    print(f"  onnxruntime's own time: {own()[0] / len(files) * 1e3:.2f} ms an image")
    def asked() -> np.ndarray:
        start, some = now(), []
        decoded(files, lambda bgr: _ask(model, some, bgr))
        return now() - start
    compare("with a small ONNX model, beside decoding and models.runtime", 1.2, rounds, len(files), lambda: profiled(files, [], model), asked)
    compare("  beside decoding and onnxruntime on inputs that are ready", 1.2, rounds, len(files), lambda: profiled(files, [], model),
            lambda: decoded(files) + own())


def _ask(model, some: list, bgr: np.ndarray) -> None:
    "Collect images until there are 8, and have the model answer them"
    some.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    if len(some) == 8:
        model.predict(some)
        some.clear()


def main(count: int, rounds: int) -> None:
    from ocr_quality.images.quality import measure
    top = Path(tempfile.mkdtemp(prefix="ocr-quality-bench-"))
    cv2.setNumThreads(1)
    try:
        pages = sheets()
        warm, files = folder_of(top / "warm", pages, 4), folder_of(top / "pages", pages, count)
        profiled(warm), decoded(warm, lambda rgb: measure(cv2.cvtColor(rgb, cv2.COLOR_BGR2GRAY)))
        size = np.prod(cv2.imread(str(files[0])).shape[:2]) / 1e6
        print(f"{count} colour JPEGs of {size:.2f} megapixels, one thread; the earlier system says {EARLIER} ms an image")
        compare("pixel statistics only", 2.5, rounds, count, lambda: profiled(files, []), lambda: decoded(files))
        quality = lambda rgb: measure(cv2.cvtColor(rgb, cv2.COLOR_BGR2GRAY))  # noqa: E731
        compare("with the quality metrics", 1.2, rounds, count, lambda: profiled(files), lambda: decoded(files, quality))
        with_model(files, rounds, top)
        for what in ("pixels", "all"): memory(top, pages, what)
    finally: shutil.rmtree(top)


def memory(top: Path, pages: list[bytes], what: str) -> None:
    "Peak memory as the folder grows"
    peaks = []
    for n in SIZES:
        folder = top / f"{what}{n}"
        folder_of(folder, pages, n)
        done = subprocess.run([sys.executable, "-c", CHILD, str(folder), what], capture_output=True, text=True, check=True, env=os.environ)
        peaks.append(float(done.stdout))
        shutil.rmtree(folder)
    growth = 100 * (peaks[1] / peaks[0] - 1)
    print(f"  peak memory, {what}, 2 threads: {peaks[0]:.0f} MB at {SIZES[0]} images, {peaks[1]:.0f} MB at {SIZES[1]} "
          f"({growth:+.1f} %; aim: under 500, within 10 %)", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    main(**vars(parser.parse_args()))
