"""Logging predictions: LookOutCV's pattern (read the file, append, rewrite) and ours, with 0, 10,000 and 200,000 rows logged before.

    python benchmarks/bench_predictions.py [--rounds 5]

Both take turns within each round. Theirs is a call that returns when its row is on the disk; ours returns when its row is queued, so both are
shown: the microseconds a call takes of the caller's thread (median, and the slowest in a hundred), and the microseconds a row takes until
`flush` has put all of a round's rows on the disk. Then the metrics of a picture of one megapixel, on one core, beside the call that hands it over.
"""
import argparse
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from ocr_quality.images.quality import default_metrics
from ocr_quality.records.generations import KeptLog, file_bytes
from ocr_quality.records.partition import unique_part
from ocr_quality.records.prediction_image import measure_shot, prediction_metrics, take
from ocr_quality.records.predictions import PredictionLog
from ocr_quality.sheet import page

BEFORE, CALLS, AIM_US, AIM_MS = (0, 10_000, 200_000), 4000, 20.0, 25.0


def row(n):
    "One prediction as LookOutCV keeps it"
    return {"image_name": f"{n}.jpg", "pred_class": "invoice", "confidence": 0.9, "contrast": 50.0, "blur": 300.0}


def theirs(folder, before):
    "A function that logs one row by reading the file, appending, and writing it again"
    path = Path(folder, "theirs.parquet")
    pd.DataFrame([row(n) for n in range(before)] or None, columns=list(row(0))).to_parquet(path)
    def log(n):
        old = pd.read_parquet(path)
        new = pd.DataFrame([row(n)])
        (pd.concat([old, new], ignore_index=True) if len(old) else new).to_parquet(path)
    return log


def ours(folder, before):
    "A log with so many rows in files of 10,000"
    store = KeptLog(Path(folder, "ours"))
    for start in range(0, before, 10_000):
        some = [row(n) for n in range(start, min(start + 10_000, before))]
        table = pa.Table.from_pylist(some).rename_columns(["uri", "predicted", "confidence", "grey_sd", "blur"])
        ids, times = pa.array([f"old-{start + i}" for i in range(len(some))]), pa.array([0] * len(some), pa.timestamp("us", "UTC"))
        store.put(file_bytes(table.append_column("event_id", ids).append_column("time", times)), "m", date(1970, 1, 1), unique_part())
    return PredictionLog("m", root=store.root)


def clock(work, *args, **more):
    "Microseconds of one call"
    start = time.perf_counter_ns()
    work(*args, **more)
    return (time.perf_counter_ns() - start) / 1e3


def turn(log, rewrite, calls):
    "One round: a few calls of theirs, many of ours, and the flush"
    slow = statistics.median(clock(rewrite, n) for n in range(5))
    start = time.perf_counter_ns()
    fast = [clock(log.log, f"{n}.jpg", predicted="invoice", confidence=0.9, grey_sd=50.0, blur=300.0) for n in range(calls)]
    if not log.flush(): raise SystemExit(f"ours could not write: {log.errors}")
    whole = (time.perf_counter_ns() - start) / 1e3 / calls
    return {"theirs": slow, "call": statistics.median(fast), "p99": float(np.percentile(fast, 99)), "row": whole}


def logging(rounds):
    "Both ways, with ever more rows logged before"
    print(f"a row, without image metrics; medians of {rounds} rounds of {CALLS} calls")
    flat = []
    for before in BEFORE:
        with tempfile.TemporaryDirectory() as folder:
            rewrite, log = theirs(folder, before), ours(folder, before)
            turn(log, rewrite, 500)  # Warm up
            turns = [turn(log, rewrite, CALLS) for _ in range(rounds)]
            if log.counts["lost"] or not log.close(): raise SystemExit(f"ours lost rows: {log.errors}")
        m = {k: statistics.median(t[k] for t in turns) for k in turns[0]}
        ratio, whole = (statistics.median(t["theirs"] / t[k] for t in turns) for k in ("call", "row"))
        flat.append(m["call"])
        print(f"  {before:7,} rows before: rewriting {m['theirs'] / 1e3:7.2f} ms a row; ours {m['call']:5.1f} us a call "
              f"(p99 {m['p99']:.0f}; aim {AIM_US:g}), {m['row']:.0f} us a row until it is on the disk; {ratio:,.0f} and {whole:,.0f} times as fast")
    print(f"  ours with {BEFORE[-1]:,} rows before takes {flat[-1] / flat[0]:.2f} times the call with none (aim: flat)")


def pictures(rounds):
    "The metrics of one megapixel, on one core"
    cv2.setNumThreads(1)
    sheet = page(seed=1, dpi=200).gray
    sheet = np.ascontiguousarray(sheet[: 10**6 // sheet.shape[1]])
    sets = {"default metrics": default_metrics(), "blur, orientation, grey_sd": ["blur", "orientation", "grey_sd"]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.jpg")
        Image.fromarray(sheet).save(path, quality=90)
        forms = {"grey array": sheet, "RGB array": np.dstack([sheet] * 3), "JPEG file": path}
        for names in sets.values():
            for image in forms.values(): measure_shot(take(image, True), prediction_metrics(names))
        print(f"a picture of {sheet.size / 1e6:.2f} megapixels, one core, best of {rounds * 3}")
        for what, names in sets.items():
            best = {k: min(clock(measure_shot, take(v, True), names) for _ in range(rounds * 3)) / 1e3 for k, v in forms.items()}
            print(f"  {what}: " + ", ".join(f"{k} {v:.1f} ms" for k, v in best.items()) + f" off-thread (aim {AIM_MS:g})")
        with PredictionLog("m", default_metrics(), root=folder, queue_bytes=1 << 30) as log:
            for name, image in forms.items():
                got = statistics.median(clock(log.log, image, predicted="a") for _ in range(30))
                log.flush()
                print(f"  handing over a {name}: {got:.0f} us of the caller's thread")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    logging(rounds)
    pictures(rounds)
