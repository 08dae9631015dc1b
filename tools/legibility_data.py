"""Pages under damage with the errors an OCR makes on them: plan, pictures and readings, page by page, to be taken up again where it stopped."""

import argparse
import hashlib
import json
import os
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from rapidfuzz.distance import Levenshtein  # noqa: E402

from ocr_quality.core import OcrError  # noqa: E402
from ocr_quality.damage import FAMILIES, damage, damage_chain  # noqa: E402
from ocr_quality.images.ink import Ink  # noqa: E402
from ocr_quality.images.ocr import engine_info, ocr  # noqa: E402
from ocr_quality.images.text_errors import normalise, text_errors  # noqa: E402
from ocr_quality.typeset import FONTS, installed_fonts, typeset  # noqa: E402

PSM, COMPOSITES, MOST_CLEAN = 6, 3, 0.25  # One block of text; chains of two or three families a page; error of a scan that is taken, undamaged
WORN = 4  # Pictures a typeset page with a little of many families, as every scan has
GOLDEN = 0.6180339887


def conditions(k: int, label: str, worn: int = 0) -> list[dict]:
    "What is done to page number `k`: nothing, every family once at severities spread over the pages, a few chains, and `worn` long mild ones"
    rng = np.random.default_rng(zlib.crc32(label.encode()))
    out = [{}]
    for f, name in enumerate(FAMILIES): out.append({name: round(0.06 + 0.94 * ((k * GOLDEN + f * 0.37) % 1), 3)})
    for _ in range(COMPOSITES):
        names = rng.choice(list(FAMILIES), int(rng.integers(2, 4)), replace=False)
        out.append({str(n): round(float(rng.uniform(0.1, 0.6)), 3) for n in names})
    for _ in range(worn):
        names = rng.choice(list(FAMILIES), int(rng.integers(4, 7)), replace=False)
        out.append({str(n): round(float(rng.uniform(0.02, 0.25)), 3) for n in names})
    return out


def family_of(chain: dict) -> str:
    "clean, the family, composite (two or three of them), or worn (more)"
    return "clean" if not chain else next(iter(chain)) if len(chain) == 1 else "composite" if len(chain) < 4 else "worn"


def run_page(out: Path, k: int, label: str, gray: np.ndarray, text: str, letter: float, about: dict, lang: str = "eng", worn: int = 0):
    "All conditions of one page: pictures, and one JSON line each once all are done"
    done, plan, rows = out / "rows" / f"{label}.jsonl", conditions(k, label, worn), []
    if done.exists() and done.read_text(encoding="utf-8").count("\n") == len(plan): return  # Rows of a shorter plan are made anew
    for i, chain in enumerate(plan):
        seed = zlib.crc32(f"{label}/{i}".encode())
        seen = damage_chain(gray, chain, seed, letter)
        file = out / "images" / f"{label}_{i:02d}.png"
        cv2.imwrite(str(file), seen, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        failed = {}
        try: read = ocr(seen, lang, PSM, 300, timeout_s=60).text
        except OcrError as e: read, failed = "", {"failed": f"{type(e).__name__}: {e}"}
        errors = text_errors(text, read)
        rows.append({"page": label, "image": file.name, "family": family_of(chain), "chain": chain, "severity": max(chain.values(), default=0.0),
                     "group": FAMILIES[family_of(chain)].group if len(chain) == 1 else family_of(chain), "seed": seed, "cer_raw": errors.cer,
                     "cer": min(errors.cer, 1.0), "bag": errors.bag_error, "chars": errors.length, "read": read, **about, **failed})
    partial = done.with_suffix(".part")
    partial.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    partial.replace(done)


def synth(out: Path, k: int):
    page = typeset(k)
    about = {"source": "synth", "layout": page.layout, "font": page.font, "point": page.point, "dpi": page.dpi, "x_height_px": page.x_height_px}
    run_page(out, k, f"synth_{k:04d}", page.gray, page.text, page.x_height_px, about, worn=WORN)


def part_of(gray: np.ndarray, text: str, lang: str, letters: int = 550) -> tuple[np.ndarray, str] | None:
    "The lines of a page that hold about so many letters, with their text: cut where Tesseract's reading of the page runs alike with its truth"
    words = ocr(gray, lang, 4, 300).words
    truth, lines = normalise(text), list(words.groupby(["block", "par", "line"], sort=False))
    read = [normalise(" ".join(w.text)) for _, w in lines]
    ends = np.cumsum([len(r) + 1 for r in read]) - 1
    if not lines or ends[-1] < 150: return None
    spans = [o for o in Levenshtein.opcodes(" ".join(read), truth)]
    def at(i): return next(o.dest_start + min(i - o.src_start, o.dest_end - o.dest_start) for o in spans if o.src_start <= i <= o.src_end)
    best = None
    for a in range(len(lines)):
        b = next((b for b in range(a, len(lines)) if ends[b] - (ends[a - 1] + 1 if a else 0) >= letters), len(lines) - 1)
        start, stop = ends[a - 1] + 1 if a else 0, ends[b]
        piece, mine = truth[at(start) : at(stop)].strip(), " ".join(read[a : b + 1])
        if stop - start < 150 or not piece: continue
        error = text_errors(piece, mine).cer
        if best is None or error < best[0] - 0.01: best = error, a, b, piece
    if best is None or best[0] > MOST_CLEAN: return None
    _, a, b, piece = best
    box = pd.concat([w for _, w in lines[a : b + 1]])
    tall = float(np.median(box.height))
    above = lines[a - 1][1] if a else None
    below = lines[b + 1][1] if b + 1 < len(lines) else None
    top = max(box.top.min() - 1.5 * tall, 0 if above is None else min((above.top + above.height).max() - 2, box.top.min() - 2))
    end = (box.top + box.height).max()
    bottom = min(end + 1.5 * tall, len(gray) if below is None else max(below.top.min() + 2, end + 2))
    left, right = max(box.left.min() - 2 * tall, 0), (box.left + box.width).max() + 2 * tall
    return np.ascontiguousarray(gray[int(max(top, 0)) : int(bottom), int(left) : int(right)]), piece


def real(out: Path, k: int, path: Path, lang: str):
    "All conditions of a part of a scanned page"
    label = f"real_{path.stem}"
    if (out / "rows" / f"{label}.jsonl").exists(): return
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cut = part_of(gray, path.with_suffix(".gt.txt").read_text(encoding="utf-8"), lang)
    if cut is None: (out / "rows" / f"{label}.jsonl").write_text(""); return
    ink = Ink(cut[0])
    letter = ink.text_height if ink.has_text else 18.0
    about = {"source": "real", "layout": "typewritten", "font": "typewriter", "point": 11.0, "dpi": 0, "x_height_px": letter}
    run_page(out, k, label, *cut, letter, about, lang)


def made_by(lang: str) -> dict:
    "What pictures and readings depend on: a digest of a page and of its damages, the mode of reading, and the engine"
    page = typeset(0, "letter", "DejaVuSans", 9, 150)
    seen = [page.gray, *(damage(page.gray[:240, :320], f, 0.5, 1, page.x_height_px) for f in FAMILIES)]
    digest = hashlib.sha256(page.text.encode() + b"".join(np.ascontiguousarray(g).tobytes() for g in seen)).hexdigest()
    engine = engine_info(lang)
    return {"pictures": digest, "psm": PSM, "engine": engine["version"], lang: {f["name"]: f["sha256"] for f in engine["files"]}}


def check_place(out: Path, lang: str):
    "Stop where fonts are lacking, or where `out` holds pictures and readings that were made otherwise"
    if gone := [f for f in FONTS if f not in installed_fonts()]:
        sys.exit(f"expected all {len(FONTS)} fonts, lacking {', '.join(gone)}; apt install {' '.join(sorted({FONTS[f] for f in gone}))}")
    note, made = out / "made.json", made_by(lang)
    before = json.loads(note.read_text(encoding="utf-8")) if note.exists() else made
    if other := [k for k in made if before.get(k, made[k]) != made[k]]:
        sys.exit(f"expected in {out} pictures and readings made as today, got others ({', '.join(other)}); take another folder, or delete this one")
    note.write_text(json.dumps(before | made, indent=1), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".legibility"))
    parser.add_argument("--pages", type=int, default=210, help="typeset pages; 32 readings each")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--real", type=Path, help="a folder of scanned pages, each with its text in NAME.gt.txt, instead of typeset ones")
    parser.add_argument("--lang", default="fra", help="their language")
    a = parser.parse_args()
    for folder in ("rows", "images"): (a.out / folder).mkdir(parents=True, exist_ok=True)
    os.environ["OMP_THREAD_LIMIT"] = "1"  # For Tesseract: one thread each, many at once
    cv2.setNumThreads(1)
    check_place(a.out, a.lang if a.real else "eng")
    with ProcessPoolExecutor(a.jobs) as pool:
        texts = sorted(a.real.glob("*.gt.txt")) if a.real else []
        scans = [next(q for q in a.real.glob(f"{p.name.removesuffix('.gt.txt')}.*") if q.suffix != ".txt") for p in texts]
        jobs = [pool.submit(real, a.out, k, p, a.lang) for k, p in enumerate(scans)] if a.real else [
            pool.submit(synth, a.out, k) for k in range(a.first, a.first + a.pages)]
        for n, job in enumerate(jobs, 1): job.result(); print(f"{n} of {len(jobs)} pages", flush=True)


if __name__ == "__main__": main()
