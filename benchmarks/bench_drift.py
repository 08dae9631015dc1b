"""The drift detector on real images: false alarms, power, and shifts that do no harm.

    python benchmarks/bench_drift.py [--pairs 300] [--runs 12] [--workers 2] [--seed 1]

The images are the forms, handwritten and printed lines, pages, receipts and natural pictures of `../shared/data` (or $OCR_QUALITY_SHARED), each
reduced to 1.5 megapixels at most and measured once; nothing is written. The model is a stand-in: a fixed random projection of the measured numbers to
four classes, with its softmax as confidence. So its answers are a function of the image, as a model's are, and follow the numbers that shift.

Counting. A batch is drawn with replacement from the measured images, and every pair anew. False alarms: both sets of a pair have n images of the
same source; what counts is `overall_drift_detected`, held to the stated rate (`DriftLimits.alpha`) with the exact binomial interval of the share.
Days that differ: the mixture of sources changes from day to day, the reference holds 20 days of 50 images, and one more such day is judged;
with the days known, and with all images in one heap. Power: a reference of 1,000 images against n of the same source, of which a share is
damaged (`synth.degrade`, severity 0 to 1; `bright` is too much light by the same measure). A class shift draws images by their predicted class, so
that the shares differ by the stated total variation, inputs and all. Harmless shifts are judged without the model: what it says of another form
is its own affair. Their 60 pages a layout are drawn again and again, so that at 1,000 even two sets of the same form are two sources, and
rightly told apart.
About 6 minutes on two free cores; --pairs 1000 takes 5 more and halves the interval.
"""
import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy import stats

from ocr_quality import synth
from ocr_quality.images.decode import decode_pages
from ocr_quality.images.quality import measure
from ocr_quality.judge.classic import LIMITS
from ocr_quality.judge.drift import detect_drift
from ocr_quality.judge.profile import Profile

SHARED = Path(os.environ.get("OCR_QUALITY_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
SOURCES = ("forms", "handwritten", "natural", "pages", "printed", "receipts")
SIZES, REFERENCE, LARGEST = (50, 200, 1000), 1000, 1.5
DAMAGES, SEVERITIES = ("blur", "noise", "dark", "bright", "low_contrast"), (0.1, 0.2, 0.4, 0.8)
SHARES, MIXED = (0.1, 0.3, 1.0), 0.4
CLASS_SHIFTS = (0.05, 0.1, 0.2, 0.3)
DAMAGED, DRAWN = {"pages": 40, "forms": 12, "printed": 60, "handwritten": 60}, 60
CREAM = np.array([255, 250, 236]) / 255
QUESTIONS = ("inputs", "confidence", "predictions")


# the images


def bright(gray, severity):
    "Too much light: the dark of the ink goes down to a third"
    return (255 - np.rint((255 - gray.astype(np.float32)) * (1 - 0.67 * severity))).astype(np.uint8)


def reduced(gray):
    "At most 1.5 megapixels, as a model would be shown"
    scale = (LARGEST * 1e6 / gray.size) ** 0.5
    return gray if scale >= 1 else cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def row_of(gray, tint=None):
    "What is measured of one image, and how many of its pixels have each level of red, green and blue"
    counts = np.zeros((3, 256), np.int64)
    levels = np.bincount(gray.ravel(), minlength=256)
    for i, share in enumerate(np.ones(3) if tint is None else tint): np.add.at(counts[i], np.rint(np.arange(256) * share).astype(int), levels)
    at, n = np.arange(256) / 255, counts.sum()
    mean = float((counts.sum(0) * at).sum() / n)
    sd = float(np.sqrt((counts.sum(0) * (at - mean) ** 2).sum() / n))
    seen = gray if tint is None else cv2.LUT(gray, np.rint(np.arange(256) * (tint @ [0.299, 0.587, 0.114])).astype(np.uint8))
    found = {k: v for k, v in measure(seen).items() if not k.endswith("_reason")}
    return {"width": gray.shape[1], "height": gray.shape[0], "pixel_mean": mean, "pixel_sd": sd, **found}, counts


def variants(gray, seed):
    "The image damaged in every way, tinted, and saved in another format"
    for name in DAMAGES:
        for severity in SEVERITIES:
            yield (name, severity), row_of(bright(gray, severity) if name == "bright" else synth.degrade(gray, name, severity, seed))
    yield ("tint", 1.0), row_of(gray, CREAM)
    again = next(decode_pages(cv2.imencode(".tiff", gray)[1].tobytes(), "again.tiff")).gray
    yield ("format", 1.0), row_of(again)


def measured(task):
    "All rows of one file: (variant, source, row, counts)"
    path, damaged, seed = task
    page = next(iter(decode_pages(path.read_bytes(), str(path))))
    if page.reason is not None: return []
    gray, source = reduced(page.gray), path.relative_to(SHARED).parts[0]
    made = [(("as it is", 0.0), row_of(gray)), *(variants(gray, seed) if damaged else ())]
    return [(name, source, damaged, *row) for name, row in made]


def drawn(task):
    "One synthetic page of a layout, as scanned"
    name, kind, family, seed = task
    gray = synth.page(seed, 100, kind, family, ink=45, grain=2.5).gray
    return name, "synth", True, *row_of(cv2.GaussianBlur(gray, (3, 3), 0.4))


# sets to draw from


@dataclass
class Pool:
    "Measured images of one source, or of one damage"
    rows: pd.DataFrame
    counts: np.ndarray  # `(images, 3, 256)`

    def profile(self, at, other=None, damaged=None, batch=None, model=True):
        "Profile of the rows `at`; those where `damaged` is true from the pool `other`"
        rows, counts = self.rows.iloc[at], self.counts[at].sum(0)
        if other is not None:
            rows = pd.concat([rows[~damaged], other.rows.iloc[at[damaged]]])
            counts = self.counts[at[~damaged]].sum(0) + other.counts[at[damaged]].sum(0)
        rows = rows.assign(uri=[f"{i}.jpg" for i in range(len(rows))], page=1, reason=None)
        if batch is not None: rows = rows.assign(batch=batch)
        return Profile.of(rows if model else rows.drop(columns=["predicted", "confidence"], errors="ignore"), counts)


def answer(rows, centre, spread):
    "What the stand-in says: class and confidence"
    x = np.nan_to_num(np.clip((rows[centre.index].astype(float) - centre) / spread, -4, 4).to_numpy())
    logits = x @ (np.random.default_rng(4).normal(size=(len(centre), 4)) * 1.2 / len(centre) ** 0.5) + [1.0, 0.5, 0, -0.5]
    sure = np.exp(logits - logits.max(1, keepdims=True))
    sure /= sure.sum(1, keepdims=True)
    return rows.assign(predicted=np.array(["form", "letter", "invoice", "other"])[sure.argmax(1)], confidence=sure.max(1))


def pools(found, made):
    "By name: everything, the images that are damaged, each damage of theirs, each layout"
    def of(some): return Pool(pd.DataFrame([s[3] for s in some]).assign(source=[s[1] for s in some]), np.stack([s[4] for s in some]))
    clean = [f for f in found if f[0] == ("as it is", 0.0)]
    out = {"all": of(clean), "some": of([f for f in clean if f[2]])}
    for name in dict.fromkeys(f[0] for f in found if f[0] != ("as it is", 0.0)): out[name] = of([f for f in found if f[0] == name])
    numbers = out["all"].rows.drop(columns="source").astype(float)
    numbers = numbers.loc[:, numbers.nunique() > 2].drop(columns=["width", "height"])
    centre, spread = numbers.median(), (numbers.quantile(0.75) - numbers.quantile(0.25)).replace(0, 1)
    for pool in out.values(): pool.rows = answer(pool.rows, centre, spread)
    for name in dict.fromkeys(m[0] for m in made): out[name] = of([m for m in made if m[0] == name])
    return out


POOLS: dict = {}


def share_pools(given): POOLS.update(given)


def one_thread(): cv2.setNumThreads(1)


# comparisons


def verdict(reference, current):
    "What one comparison said"
    report = detect_drift(reference, current)
    asked = {k: q for k, q in report["questions"].items() if k in QUESTIONS and q is not None}
    return {"drift": report["overall_drift_detected"], "severity": report["severity"], "harm": report["harm"]["verdict"],
            **{k: q["drift_detected"] for k, q in asked.items()}, **{f"p {k}": q["p_value"] <= q["alpha"] for k, q in asked.items()}}


def calm(rng, n):
    "Two sets of the same images"
    a, b = rng.integers(len(POOLS["all"].rows), size=(2, n))
    return verdict(POOLS["all"].profile(a), POOLS["all"].profile(b))


def days(rng, n, known):
    "Twenty days of 50 images, and one more of `n`; each day has its own mixture of sources"
    pool = POOLS["all"]
    names, usual = np.unique(pool.rows["source"], return_counts=True)
    where = {s: np.flatnonzero(pool.rows["source"] == s) for s in names}
    def day(size):
        mixture = rng.dirichlet(40 * usual / usual.sum())
        return np.concatenate([rng.choice(where[s], k) for s, k in zip(names, rng.multinomial(size, mixture), strict=True)])
    past, name = np.concatenate([day(50) for _ in range(20)]), np.repeat([f"day {i}" for i in range(20)], 50)
    return verdict(pool.profile(past, batch=name if known else None), pool.profile(day(n), batch="today" if known else None))


def damage(rng, n, name, severity, share):
    "A share of the images damaged"
    pool = POOLS["some"]
    a, b = rng.integers(len(pool.rows), size=REFERENCE), rng.integers(len(pool.rows), size=n)
    hit = np.arange(n) < round(share * n)
    return verdict(pool.profile(a), pool.profile(b, POOLS[name, severity], hit))


def class_shift(rng, n, apart):
    "Other shares of the predicted classes: the commonest loses what the rarest but one gains"
    pool = POOLS["all"]
    names, usual = np.unique(pool.rows["predicted"], return_counts=True)
    moved, order = usual / usual.sum(), np.argsort(usual)
    moved[order[-1]] -= apart
    moved[order[1]] += apart
    p = (moved / usual)[np.searchsorted(names, pool.rows["predicted"])]
    return verdict(pool.profile(rng.integers(len(pool.rows), size=REFERENCE)), pool.profile(rng.choice(len(pool.rows), n, p=p / p.sum())))


def harmless(rng, n, before, after):
    "One pool against another, without the model"
    a, b = POOLS[before], POOLS[after]
    return verdict(a.profile(rng.integers(len(a.rows), size=REFERENCE), model=False), b.profile(rng.integers(len(b.rows), size=n), model=False))


def more_handwritten(rng, n):
    "A tenth more of the images are handwritten"
    pool = POOLS["all"]
    hand = (pool.rows["source"] == "handwritten").to_numpy()
    p = np.where(hand, (hand.mean() + 0.1) / hand.sum(), (0.9 - hand.mean()) / (~hand).sum())
    reference = pool.profile(rng.integers(len(hand), size=REFERENCE), model=False)
    return verdict(reference, pool.profile(rng.choice(len(hand), n, p=p), model=False))


def cell(task):
    "Some comparisons of one kind: their verdicts, and the seconds they took"
    key, count, seed, kind, args = task
    rng, start = np.random.default_rng(seed), time.perf_counter()
    rows = [globals()[kind](rng, *args) for _ in range(count)]
    return key, pd.DataFrame(rows), time.perf_counter() - start


# what is asked


def tasks(pairs, runs, seed):
    "Every cell, in pieces, the long ones first"
    out = []
    def add(key, count, kind, *args):
        for part in range(0, count, 10): out.append((key, min(10, count - part), (seed, len(out)), kind, args))
    for n in SIZES: add(("calm", n), pairs, "calm", n)
    for known in (True, False):
        for n in (50, 200): add(("days", n, known), pairs // 3, "days", n, known)
    for n in SIZES:
        few = runs if n < 1000 else max(runs // 2, 2)
        for name in DAMAGES:
            for severity in SEVERITIES: add(("damage", n, name, severity, 1.0), few, "damage", n, name, severity, 1.0)
            for share in SHARES[:-1]: add(("damage", n, name, MIXED, share), few, "damage", n, name, MIXED, share)
        for apart in CLASS_SHIFTS: add(("class", n, apart), few, "class_shift", n, apart)
        for name, before, after in HARMLESS: add(("harmless", n, name), few, "harmless", n, before, after)
        add(("harmless", n, "a tenth more handwritten"), few, "more_handwritten", n)
    return sorted(out, key=lambda t: -t[0][1])


LAYOUTS = [("claim", "claim", "Sans", 0), ("claim again", "claim", "Sans", 1000), ("table", "table", "Sans", 2000),
           ("letter", "letter", "Sans", 3000), ("table, serif", "table", "Serif", 4000), ("letter, mono", "letter", "SansMono", 5000)]
HARMLESS = [("other claims, same form", "claim", "claim again"), ("claim to table", "claim", "table"), ("claim to letter", "claim", "letter"),
            ("claim to table in serif", "claim", "table, serif"), ("claim to letter in mono", "claim", "letter, mono"),
            ("cream paper, real images", "some", ("tint", 1.0)), ("JPEG to TIFF, real images", "some", ("format", 1.0))]


def collect(workers):
    "Measure everything once"
    files = sorted(p for s in SOURCES for p in (SHARED / s).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp", ".gif"))
    rng, damaged = np.random.default_rng(0), set()
    for source, count in DAMAGED.items():
        own = [p for p in files if p.relative_to(SHARED).parts[0] == source]
        damaged |= {own[i] for i in rng.permutation(len(own))[:count]}
    with ProcessPoolExecutor(workers, initializer=one_thread) as pool:
        found = [row for rows in pool.map(measured, [(p, p in damaged, i) for i, p in enumerate(files)], chunksize=4) for row in rows]
        made = list(pool.map(drawn, [(name, kind, family, first + i) for name, kind, family, first in LAYOUTS for i in range(DRAWN)], chunksize=8))
    return pools(found, made)


# tables


def share(values): return f"{values.mean():.2f}" if len(values) else "–"


def print_calm(got, pairs):
    "First table"
    alpha = LIMITS.alpha
    print(f"\nFalse alarms, {pairs} pairs a size, both of n of the same images; stated rate {alpha:g} (aim: at most {1.5 * alpha:g})")
    print(f"  {'n':>5}  {'overall drift':34}{'high':>6}   by question: flagged / p below its alpha")
    for n in SIZES:
        t = got["calm", n]
        k, m = int(t["drift"].sum()), len(t)
        ci = stats.binomtest(k, m).proportion_ci()
        by = ", ".join(f"{q} {t[q].mean():.3f} / {t[f'p {q}'].mean():.3f}" for q in QUESTIONS)
        missed = "" if k / m <= 1.5 * alpha else f"  above the aim{'' if ci.low > 1.5 * alpha else ', within chance of it'}"
        print(f"  {n:5}  {k:3} of {m:4} = {k / m:.4f} ({ci.low:.4f} to {ci.high:.4f})  {(t['severity'] == 'high').mean():6.3f}   {by}{missed}")
    print("\nDays whose mixture of sources differs, 20 days of 50 as the reference")
    for n in (50, 200):
        for known in (True, False):
            t = got["days", n, known]
            ci = stats.binomtest(int(t["drift"].sum()), len(t)).proportion_ci()
            print(f"  {n:5}  {'days known' if known else 'one heap':12} {t['drift'].mean():.3f} ({ci.low:.3f} to {ci.high:.3f}) of {len(t)}")


def print_power(got, runs):
    "Second table"
    print(f"\nPower: share of comparisons with overall drift, reference {REFERENCE:,} images, {runs} runs a cell ({max(runs // 2, 2)} at 1,000)")
    print(f"  {'all images damaged':22}" + "".join(f"{f'severity {s:g}':>26}" for s in SEVERITIES))
    print(f"  {'n':22}" + "".join(f"{n:>8}" for n in SIZES).rjust(26) * len(SEVERITIES))
    for name in DAMAGES:
        row = "".join("".join(f"{share(got['damage', n, name, s, 1.0]['drift']):>8}" for n in SIZES).rjust(26) for s in SEVERITIES)
        print(f"  {name:22}{row}")
    print(f"  {f'severity {MIXED:g}, a share':22}" + "".join(f"{f'{100 * s:g} % of the images':>26}" for s in SHARES))
    for name in DAMAGES:
        row = "".join("".join(f"{share(got['damage', n, name, MIXED, s]['drift']):>8}" for n in SIZES).rjust(26) for s in SHARES)
        print(f"  {name:22}{row}")
    print(f"  {'class shift, TV':22}" + "".join(f"{f'{a:g}':>26}" for a in CLASS_SHIFTS))
    for name, of in (("overall", "drift"), ("answers", "predictions")):
        print(f"  {name:22}" + "".join("".join(f"{share(got['class', n, a][of]):>8}" for n in SIZES).rjust(26) for a in CLASS_SHIFTS))
    worse = [(n, name, s, (got["damage", n, name, s, 1.0]["severity"] == "high").mean()) for n in SIZES for name in DAMAGES for s in (0.4, 0.8)]
    print("  flagged high at severity 0.4 / 0.8: " + "; ".join(
        f"{name} " + ", ".join("/".join(f"{h:.2f}" for m, d, s, h in worse if m == n and d == name) for n in SIZES) for name in DAMAGES))


def print_harmless(got):
    "Third table"
    print("\nHarmless shifts, without the model: drift / high / worse by the harm metric (aim: high at most 0.01)")
    print(f"  {'':28}" + "".join(f"{f'n = {n}':>24}" for n in SIZES))
    for name in [h[0] for h in HARMLESS] + ["a tenth more handwritten"]:
        cells = [got["harmless", n, name] for n in SIZES]
        row = "".join(f"{share(t['drift'])} / {share(t['severity'] == 'high')} / {share(t['harm'] == 'worse')}".rjust(24) for t in cells)
        print(f"  {name:28}{row}{'  missed' if max((t['severity'] == 'high').mean() for t in cells) > 0.01 else ''}")


def main(pairs, runs, workers, seed):
    if not SHARED.is_dir(): return print(f"the real images are not here ({SHARED}), so there is nothing to prove drift on")
    start = time.perf_counter()
    given = collect(workers)
    spent, kinds = time.perf_counter() - start, given["all"].rows["source"].value_counts()
    print(f"{len(given['all'].rows)} images ({', '.join(f'{k} {v}' for k, v in kinds.items())}), {len(given['some'].rows)} of them damaged in "
          f"{len(DAMAGES) * len(SEVERITIES)} ways, {DRAWN} synthetic pages of each of {len(LAYOUTS)} layouts: measured in {spent:.0f} s")
    got, seconds = {}, {}
    with ProcessPoolExecutor(workers, initializer=share_pools, initargs=(given,)) as pool:
        for key, table, took in pool.map(cell, tasks(pairs, runs, seed)):
            got.setdefault(key, []).append(table)
            seconds.setdefault(key[1] if key[0] == "calm" else None, []).append(took / len(table))
    got = {k: pd.concat(v, ignore_index=True) for k, v in got.items()}
    print_calm(got, pairs)
    print_power(got, runs)
    print_harmless(got)
    print("\nOne comparison, both profiles made too: " + ", ".join(f"{1e3 * np.median(seconds[n]):.0f} ms at {n}" for n in SIZES)
          + f" images; all in {(time.perf_counter() - start) / 60:.1f} minutes with {workers} processes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    main(args.pairs, args.runs, args.workers, args.seed)
