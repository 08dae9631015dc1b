"""A batch of pages: two workers against one, and peak memory as the batch grows.

Each figure comes from a process of its own; speed runs alternate, so that a slow minute of the machine hits both sides.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

ROUNDS, SPEED_PAGES, SIZES = 5, 160, (200, 2000)

CHILD = """
import json, resource, sys, time
from ocr_quality.images.batch import iter_measured, measure_batch
folder, workers, warm = sys.argv[1], int(sys.argv[2]), sys.argv[3]
measure_batch(warm, workers=workers, progress=False)
start = time.perf_counter()
pages = sum(len(chunk) for chunk in iter_measured(folder, workers=workers, progress=False))
print(json.dumps({"pages": pages, "seconds": time.perf_counter() - start, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def pages_into(folder: Path, sheets: list[bytes], count: int) -> str:
    "A folder of `count` claims at 200 dpi"
    folder.mkdir(parents=True)
    for n in range(count): (folder / f"{n:05d}.jpg").write_bytes(sheets[n % len(sheets)])
    return str(folder)


def measured(folder: str, workers: int, warm: str) -> dict:
    "One measurement in a process of its own"
    done = subprocess.run([sys.executable, "-c", CHILD, folder, str(workers), warm], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    from ocr_quality import synth
    top = Path(tempfile.mkdtemp(prefix="ocr-quality-bench-"))
    try:
        sheets = [cv2.imencode(".jpg", synth.degrade(synth.page(s, dpi=200).gray, "noise", 0.05, s), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
                  for s in range(8)]
        warm, speed = pages_into(top / "warm", sheets, 8), pages_into(top / "speed", sheets, SPEED_PAGES)
        measured(warm, 2, warm)
        pairs = [(measured(speed, 1, warm)["seconds"], measured(speed, 2, warm)["seconds"]) for _ in range(ROUNDS)]
        ratios = sorted(one / two for one, two in pairs)
        print(f"{SPEED_PAGES} pages of 3.7 megapixels, {os.cpu_count()} cores: 1 worker {min(p[0] for p in pairs):.2f} s, "
              f"2 workers {min(p[1] for p in pairs):.2f} s")
        print(f"  2 workers are {statistics.median(ratios):.2f} times 1 worker (from {ratios[0]:.2f} to {ratios[-1]:.2f}; aim 1.8)")
        peaks = [measured(pages_into(top / str(n), sheets, n), 2, warm)["mb"] for n in SIZES]
        for n, mb in zip(SIZES, peaks, strict=True): print(f"  peak memory, {n:5d} pages: {mb:.0f} MB (aim: under 500)")
        print(f"  from {SIZES[0]} to {SIZES[1]} pages: {100 * (peaks[1] / peaks[0] - 1):+.1f} % (aim: within 10)")
    finally: shutil.rmtree(top)


if __name__ == "__main__": main()
