"""BRISQUE beside piq, OpenCV contrib and the decoding of the page itself: one thread each, in turns, on the same grey page.

    python benchmarks/bench_brisque.py [--rounds 7]

The page of 3.7 megapixels is drawn by the package's own generator, grain included, and passes through JPEG. piq runs as its users run it,
in float32; it and OpenCV get the numbers of the LIVE model from our package (piq through torch's hub cache, OpenCV as files written here), so
nothing is downloaded. Real scans are measured where `../shared/data/pages` (or $OCR_QUALITY_SHARED) has some.
The machine is shared and noisy: rounds go through all contestants in turn, and each ratio is the median of the ratios within a round.
"""
import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from ocr_quality.images import brisque as ours
from ocr_quality.sheet import page

SHARED = Path(os.environ.get("OCR_QUALITY_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SLOW = ("piq", "OpenCV")


def clock(fn, *args, n=1):
    "Milliseconds of one call, the mean over `n`"
    start = time.perf_counter()
    for _ in range(n): fn(*args)
    return (time.perf_counter() - start) * 1e3 / n


def piq_scorer(folder):
    "float32 BRISQUE by piq on one thread with the LIVE numbers, or None without piq"
    os.environ["TORCH_HOME"] = folder
    try:
        import piq
        import torch
    except ImportError: return None
    torch.set_num_threads(1)
    model, cache = ours._model(), Path(folder, "hub/checkpoints")
    cache.mkdir(parents=True)
    torch.save((torch.tensor(model["coef"][:, None]).float(), torch.tensor(model["vectors"]).float()), cache / "brisque_svm_weights.pt")
    return lambda gray: piq.brisque(torch.from_numpy(gray)[None, None].float(), data_range=255.0).item()


def cv2_scorer(folder):
    "BRISQUE by OpenCV contrib with the LIVE numbers, or None without contrib"
    if not hasattr(cv2, "quality"): return None
    model, path = ours._model(), Path(folder, "live.yml")
    n = len(model["coef"])
    rows = "".join("      - [" + ", ".join(f"{v:.9g}" for v in row) + "]\n" for row in model["vectors"])
    path.write_text(
        "%YAML:1.0\n---\nopencv_ml_svm:\n   format: 3\n   svmType: EPS_SVR\n   kernel:\n      type: RBF\n"
        f"      gamma: {float(model['gamma'])!r}\n   C: 1024.\n   p: 0.1\n   term_criteria: {{ epsilon:1.1920928955078125e-07, iterations:1000 }}\n"
        f"   var_count: 36\n   class_count: 0\n   sv_total: {n}\n   support_vectors:\n{rows}   decision_functions:\n      -\n"
        f"         sv_count: {n}\n         rho: {float(model['rho'])!r}\n"
        f"         alpha: [{', '.join(f'{v:.17g}' for v in model['coef'])}]\n"
        f"         index: [{', '.join(map(str, range(n)))}]\n")
    ranges = Path(folder, "range.yml")
    stored = cv2.FileStorage(str(ranges), cv2.FILE_STORAGE_WRITE)
    stored.write("range", model["ranges"].T.astype(np.float32)); stored.release()
    scorer = cv2.quality.QualityBRISQUE_create(str(path), str(ranges))
    return lambda gray: scorer.compute(gray)[0]


def take_turns(contestants, gray, rounds):
    "Milliseconds of each contestant in each round; the short ones are called ten times a turn"
    for fn in contestants.values(): fn(gray)  # Compile, load, warm up
    return [{name: clock(fn, gray, n=1 if name in SLOW else 10) for name, fn in contestants.items()} for _ in range(rounds)]


def ratio(turns, a, b):
    "Median over the rounds of the time of `a` over the time of `b`"
    return statistics.median(t[a] / t[b] for t in turns)


def scans(n=20):
    "Bytes of up to `n` real scans, evenly picked"
    files = sorted(p for p in (SHARED / "data/pages").glob("*") if p.suffix in (".jpg", ".jpeg"))
    return [p.read_bytes() for p in files[:: max(1, len(files) // n)][:n]]


def page_of(megapixels=3.7):
    "A drawn page of even size, as JPEG"
    sheet = page(seed=1, dpi=200).gray
    sheet = sheet[: int(megapixels * 1e6 / sheet.shape[1]) // 2 * 2, : sheet.shape[1] // 2 * 2]
    return cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]


def decode(jpeg): return cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)


def against_rivals(rounds, folder):
    "Score and time of everybody on the drawn page"
    jpeg = page_of()
    gray = decode(jpeg)
    everybody = {"ours": ours.brisque, "piq": piq_scorer(folder), "OpenCV": cv2_scorer(folder)}
    for name in [k for k, fn in everybody.items() if fn is None]: print(f"{name}: not installed here, left out"); del everybody[name]
    print(f"page {gray.shape[1]} x {gray.shape[0]}, {gray.size / 1e6:.2f} megapixels, JPEG of {len(jpeg) / 1e3:.0f} kB; {rounds} rounds, medians")
    for name, fn in everybody.items(): print(f"  {name:8} score {fn(gray):8.3f}")
    turns = take_turns(everybody | {"decode": lambda _: decode(jpeg)}, gray, rounds)
    for name in turns[0]:
        ms = statistics.median(t[name] for t in turns)
        print(f"  {name:8} {ms:9.2f} ms  {ms / gray.size * 1e6:8.2f} ms a megapixel")
    for name, aim in (("piq", 60), ("OpenCV", 9)):
        if name in everybody: print(f"ours is {ratio(turns, name, 'ours'):5.1f} times as fast as {name} (aim {aim})")
    print(f"ours takes {ratio(turns, 'ours', 'decode'):.2f} times as long as decoding that page (aim 1.3)")


def against_decoding(rounds):
    "Time beside decoding for real scans"
    files = scans()
    if not files: return print(f"no real scans below {SHARED}: that ratio is left out")
    found = []
    for data in files:
        jpeg = np.frombuffer(data, np.uint8)
        gray = decode(jpeg)
        found.append(ratio(take_turns({"ours": ours.brisque, "decode": lambda _, jpeg=jpeg: decode(jpeg)}, gray, rounds), "ours", "decode"))
    middle = statistics.median(found)
    print(f"{len(found)} real scans: ours takes {middle:.2f} times as long as decoding them (aim 3), {min(found):.2f} to {max(found):.2f}")


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--rounds", type=int, default=7)
    args = cli.parse_args()
    cv2.setNumThreads(1)
    print(f"OpenCV {cv2.__version__}, NumPy {np.__version__}, model {ours.BRISQUE_MODEL}")
    with tempfile.TemporaryDirectory() as folder: against_rivals(args.rounds, folder)
    against_decoding(3)


if __name__ == "__main__": main()
