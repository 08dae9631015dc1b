"""All metrics of `measure` on one page, one thread: milliseconds a megapixel for each, in total, and beside the decoding of the page.

    python benchmarks/bench_measure.py [--rounds 7]

The page of 3.7 megapixels is drawn by the package's own generator, grain included, and passes through JPEG; real scans are measured where
`../shared/data/pages` (or $OCR_QUALITY_SHARED) has some. Each metric is timed on a fresh page, so that what it shares with others counts in
full; the total is that of `measure`, which computes the shared work once. Every figure is the
best of the rounds, since the machine is shared and noisy; the figures for scans are medians over the scans.
"""
import argparse
import os
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from ocr_quality.images.ink import Ink
from ocr_quality.images.quality import default_metrics, measure
from ocr_quality.sheet import page

SHARED = Path(os.environ.get("OCR_QUALITY_SHARED", Path(__file__).resolve().parents[2] / "shared"))
AIM = 12.0  # ms a megapixel, all metrics together


def clock(fn, *args):
    "Milliseconds of one call"
    start = time.perf_counter()
    fn(*args)
    return (time.perf_counter() - start) * 1e3


def drawn(megapixels=3.7):
    "A drawn page as JPEG bytes"
    sheet = page(seed=1, dpi=200).gray
    return cv2.imencode(".jpg", sheet[: int(megapixels * 1e6 / sheet.shape[1])], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]


def scans(n=20):
    "Up to `n` real scans, evenly picked, as arrays of bytes"
    files = sorted(p for p in (SHARED / "data/pages").glob("*") if p.suffix in (".jpg", ".jpeg"))
    return [np.frombuffer(p.read_bytes(), np.uint8) for p in files[:: max(1, len(files) // n)][:n]]


def times(jpeg, rounds, names):
    "Best milliseconds a megapixel of decoding, of each of the sets of metrics in `names`, and the megapixels"
    gray = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    size = gray.size / 1e6
    for metrics in names.values(): measure(gray, metrics)  # Compile, load, warm up
    def turn(): return {"decode": clock(cv2.imdecode, jpeg, cv2.IMREAD_GRAYSCALE)} | {k: clock(measure, Ink(gray), m) for k, m in names.items()}
    turns = [turn() for _ in range(rounds)]
    return {k: min(t[k] for t in turns) / size for k in turns[0]}, size


def main(rounds):
    cv2.setNumThreads(1)
    everything = default_metrics()
    sets = {"all": everything, "all but brisque": [m for m in everything if m != "brisque"]}
    got, size = times(drawn(), rounds, sets | {m: [m] for m in everything})
    print(f"drawn page of {size:.1f} megapixels, ms a megapixel")
    for name, ms in got.items(): print(f"  {name:16} {ms:6.2f}")
    print(f"  all together {got['all']:.1f} ms a megapixel (aim {AIM:g}); {got['all'] / got['brisque']:.2f} times brisque, "
          f"{got['all'] / got['decode']:.2f} times grey decode")
    pages = scans()
    if not pages:
        print(f"no real scans in {SHARED / 'data/pages'}")
        return
    rows = [times(p, max(rounds // 3, 1), sets | {"brisque": ["brisque"]})[0] for p in pages]
    middle = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
    print(f"{len(rows)} real scans, median ms a megapixel: " + ", ".join(f"{k} {v:.2f}" for k, v in middle.items()))
    print(f"  slowest {max(r['all'] for r in rows):.1f}; all together {statistics.median(r['all'] / r['brisque'] for r in rows):.2f} times brisque, "
          f"{statistics.median(r['all'] / r['decode'] for r in rows):.2f} times grey decode")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    main(parser.parse_args().rounds)
