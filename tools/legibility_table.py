"""The table that the legibility model learns from: our signs of every picture of `tools/legibility_data.py`, and what its rivals say of it.

    python tools/legibility_table.py .legibility [--out .legibility/table.parquet]
"""
import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from glyphs import APART  # noqa: E402

from ocr_quality.core import MissingValue  # noqa: E402
from ocr_quality.images.brisque import brisque, brisque_features  # noqa: E402
from ocr_quality.images.ink import Ink  # noqa: E402
from ocr_quality.images.quality import contrast, noise, sharpness  # noqa: E402
from ocr_quality.images.signs import signs  # noqa: E402


def text_part(ink):
    "The box that holds the text, or the page"
    if not len(ink.letters): return ink.gray
    x, y, w, h = ink.letters[:, :4].T
    part = ink.gray[y.min() : (y + h).max(), x.min() : (x + w).max()]
    return np.ascontiguousarray(part) if min(part.shape) >= 48 else ink.gray


def rivals(ink):
    "What others would look at; NaN where they give no answer"
    gray = ink.gray
    smooth, lap = cv2.GaussianBlur(gray, (0, 0), 1), cv2.Laplacian(gray, cv2.CV_32F)
    slope = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    depth = max(float(np.percentile(gray[::4, ::4], 50)) - float(np.percentile(gray[::4, ::4], 2)), 5)
    takes = {"rival_brisque": lambda: brisque(gray), "rival_brisque_inverted": lambda: brisque(255 - gray),
             "rival_brisque_text": lambda: brisque(text_part(ink)),
             "rival_sharpness": lambda: sharpness(ink), "rival_contrast": lambda: contrast(ink), "rival_noise": lambda: noise(ink),
             "rival_laplacian": lambda: lap.var(), "rival_laplacian_per_contrast": lambda: lap.var() / depth**2,
             "rival_gradient": lambda: slope[slope > np.percentile(slope[::4, ::4], 90)].std() / depth,
             "control_bytes": lambda: len(cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]) / gray.size,
             "control_pixels": lambda: gray.size}
    out = {}
    for name, take in takes.items():
        try: out[name] = float(take())
        except MissingValue: out[name] = np.nan  # A rival without an answer gets none
    try: return out | {f"mscn_{i:02d}": float(v) for i, v in enumerate(np.ravel(brisque_features(gray)))}
    except MissingValue: return out


def one(folder, row):
    "A row with our signs and the rivals"
    ink = Ink(cv2.imread(str(folder / "images" / row["image"]), cv2.IMREAD_GRAYSCALE))
    s = signs(ink, parts=False)
    letters = "typewriters" if row["source"] == "real" else "fonts never taught" if row["font"].startswith(tuple(APART)) else "fonts taught"
    row = {k: v for k, v in row.items() if k != "read"} | {k: round(row[k], 4) for k in ("cer", "cer_raw")}
    row |= {"chain": json.dumps(row["chain"]), "no_text": not ink.has_text, "letters_of": letters}
    return row | dict(zip(s.names, s.page.tolist())) | rivals(ink)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    a = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [json.loads(line) for f in sorted((a.folder / "rows").glob("*.jsonl")) for line in f.read_text(encoding="utf-8").splitlines()]
    rows = [r for r in rows if not (r.get("failed") and not r["read"])]
    with ProcessPoolExecutor(a.jobs) as pool: table = pd.DataFrame(list(pool.map(partial(one, a.folder), rows, chunksize=8)))
    table.to_parquet(a.out or a.folder / "table.parquet")
    print(f"{len(table)} rows of {table.page.nunique()} pages, {table.source.value_counts().to_dict()}")


if __name__ == "__main__": main()
