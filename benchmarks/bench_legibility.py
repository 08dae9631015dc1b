"""The expected error rate beside the other metrics of a page and beside Tesseract: milliseconds a megapixel, one thread.

    python benchmarks/bench_legibility.py [--rounds 5]

Letters are drawn by the package at three resolutions, clean and blurred; real scans are measured where `../shared/data/pages` (or
$OCR_QUALITY_SHARED) has some. `beyond` is the time of `measure` with `expected_cer` and `legibility` less that without; every figure is the
best of the rounds. Tesseract's time is that of one run of its program on the same page.
"""
import argparse
import os
import shutil
import statistics
import time
from pathlib import Path

import cv2

from ocr_quality.images.ocr import ocr
from ocr_quality.images.quality import default_metrics, measure
from ocr_quality.sheet import page
from ocr_quality.synth import degrade

SHARED = Path(os.environ.get("OCR_QUALITY_SHARED", Path(__file__).resolve().parents[2] / "shared"))
OURS = "expected_cer", "legibility"
AIM, SHARE = 8.0, 0.10  # ms a megapixel beyond the other metrics; share of Tesseract's time


def best(rounds, gray, names):
    "Least milliseconds of `measure`"
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        measure(gray, names)
        times.append((time.perf_counter() - start) * 1e3)
    return min(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    pages = {f"letter {dpi} dpi{', blurred' if bad else ''}": degrade(page(1, dpi, "letter").gray, "blur", bad)
             for dpi in (100, 200, 300) for bad in (0, 0.4)}
    for f in sorted((SHARED / "data/pages").glob("*.jp*g"))[::6]: pages[f.stem[-28:]] = cv2.imread(str(f), cv2.IMREAD_GRAYSCALE)
    others = [m for m in default_metrics() if m not in OURS]
    everything, beyond_all, shares = others + list(OURS), [], []
    measure(next(iter(pages.values())), everything)
    print(f"{'page':40s}     Mpx  others  beyond   ms/Mpx  Tesseract   share")
    for name, gray in pages.items():
        mpx, without = gray.size / 1e6, best(rounds, gray, others)
        beyond = best(rounds, gray, everything) - without
        start = time.perf_counter()
        seconds = (ocr(gray), time.perf_counter() - start)[1] if shutil.which("tesseract") else float("nan")
        beyond_all.append(beyond / mpx); shares.append((without + beyond) / 1e3 / seconds)
        print(f"{name:40s} {mpx:7.2f} {without:7.1f} {beyond:7.1f} {beyond / mpx:8.2f} {seconds:9.2f} s {100 * shares[-1]:6.1f} %")
    print(f"median beyond the other metrics {statistics.median(beyond_all):.2f} ms a megapixel (aim {AIM:g})")
    print(f"median share of Tesseract's time, all metrics together {100 * statistics.median(shares):.1f} % (aim {100 * SHARE:g} %)")


if __name__ == "__main__": main()
