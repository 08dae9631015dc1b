"""The proof of the legibility index: what it says of pages and damage that it never saw, beside its rivals.

    python tools/legibility_proof.py TABLE.parquet [--out proof.json] [--signs SIGNS.json] [--features FEATURES.json] [--quick]

TABLE has one row an image, with the columns
    page, layout, font, source ("synth", "real"), family ("clean", a family, "composite", "worn"), group, severity, cer, chars
    features        numbers of ours
    rival_*         scores of others; the better direction is chosen for them
    mscn_*          the 36 features of BRISQUE, taught on the error rate as ours are
    control_*       file size per pixel and resolution
    chain           JSON, the families of a row and their severities
"""
import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import cv2
import legibility_figures as figs
import legibility_fit as lf
import legibility_reasons as lr
import numpy as np
import pandas as pd

from ocr_quality.images.error_map import FLOOR, Isotonic, fit_isotonic
from ocr_quality.images.gate import gate
from ocr_quality.images.legibility import shipped_predictor
from ocr_quality.images.recalibrate import refit
from ocr_quality.images.signs import SIGNS

SPLITS = {"a": "page held out", "b": "family held out", "b'": "group of families held out", "c": "page and family held out",
          "c'": "page and group held out", "d": "composites, page held out", "e": "composites on real pages, of known families",
          "f": "real pages, family held out", "f'": "real pages, group held out",
          "f+": "real pages, family held out, with a map of their own", "f'+": "real pages, group held out, with a map of their own"}
AIMS = {"srocc": 0.80, "within_page": 0.90, "middle": 0.60}


def folds(table, split, k=5):
    """Pairs of masks over the rows of `table`: what may be taught, what is tested; each row is tested once at most. A composite or a
    worn picture is taught only where none of its families is held out; composites are tested in "d" and "e" alone, worn pictures nowhere"""
    synth = (table.source == "synth").to_numpy() if "source" in table else np.ones(len(table), bool)
    family, page = table.family.to_numpy(), lf.page_folds(table, k)
    single, group = ~np.isin(family, lf.CHAINS), (table["group"] if "group" in table else table.family).to_numpy()
    held = group if split.endswith("'") else family
    members = {h: frozenset(family[(held == h) & single]) for h in pd.unique(held[single])}
    if split == "a": yield from ((synth & (page != i), synth & single & (page == i)) for i in range(k))
    elif split == "e": yield synth & single, ~synth & (family == "composite")
    elif split == "d": yield from ((synth & single & (page != i), synth & (family == "composite") & (page == i)) for i in range(k))
    else:
        for h, names in members.items():
            mine = single & (held == h)
            teach = synth & np.array([p.isdisjoint(names) for p in table.parts])
            if split[0] == "b": yield teach, synth & mine
            elif split[0] == "f": yield teach, ~synth & mine
            else: yield from ((teach & (page != i), synth & mine & (page == i)) for i in range(k))


# ---- predictors: from (rows to learn, rows to tell) to columns `expected` and, where there is one, `low` and `high`
def whole(model, level=0.9, rounds=1):
    "Trees, map and interval, all learnt on the rows to learn alone"
    def tell(train, test):
        p = lf.fit_predictor(model, train, level, rounds)
        e = p.isotonic.apply(lf.score(p.trees, test))
        low, high = p.conformal.interval(e)
        return pd.DataFrame({"expected": e, "low": low, "high": high}, index=test.index)
    return tell


def raw(model):
    "What a taught model says, without map"
    return lambda train, test: pd.DataFrame({"expected": lf.score(model.fit(train), test)}, index=test.index)


def shuffled(model, seed=0):
    "The same with error rates dealt out anew among the rows: must give about 0"
    def tell(train, test):
        cer = np.random.default_rng(seed).permutation(train.cer.to_numpy())
        return pd.DataFrame({"expected": lf.score(model.fit(train, cer), test)}, index=test.index)
    return tell


def family_oracle(train, test):
    "Knows which family it is, and its mean error on other pages"
    return pd.DataFrame({"expected": test.family.map(train.groupby("family").cer.mean()).to_numpy()}, index=test.index)


def severity_oracle(train, test):
    "Knows family and severity, and the rising curve between that and error on other pages"
    out = pd.Series(np.nan, test.index)
    for f, rows in test.groupby("family"):
        seen = train[train.family == f]
        if len(seen): out[rows.index] = fit_isotonic(seen.severity, seen.cer).apply(rows.severity)
    return out.to_frame("expected")


def held_out(table, split, tell, k=5):
    "Rows of `table` that `split` tests, with what `tell` says of each when taught without them; its index is that of `table`"
    told = [tell(table[train], table[test]) for train, test in folds(table, split, k) if test.any()]
    if not told: return table.iloc[:0].assign(expected=0.0)
    told = pd.concat(told)
    keys = [c for c in lf.KEYS if c in table]
    return table.loc[told.index, keys].join(told)


def rival_score(table, column):
    "A rival's column, turned so that higher is worse on the whole table; missing values in the middle"
    v = table[column].to_numpy(float)
    v = np.where(np.isfinite(v), v, np.nanmedian(v[np.isfinite(v)]) if np.isfinite(v).any() else 0.0)
    r = figs.spearman(v, table.cer.to_numpy(float), np.zeros(len(v), np.int64), np.ones((1, 1)))[0]
    return pd.Series(-v if r < 0 else v, table.index)


def remapped(rows, k=5):
    "`rows` as a house sees them that has calibrated (`recalibrate.refit`): map and interval learnt from its own pages, each page from the others"
    fold, out, plain = lf.page_folds(rows, k), rows.copy(), np.array([FLOOR, 1 - FLOOR])
    told = replace(shipped_predictor(), isotonic=Isotonic(plain, plain))
    for i in range(k):
        learn, tell = rows[fold != i], fold == i
        own = refit(told, *(learn[c].to_numpy() for c in ("expected", "cer", "page")))
        e = own.isotonic.apply(rows.expected[tell])
        out.loc[tell, "expected"], (out.loc[tell, "low"], out.loc[tell, "high"]) = e, own.conformal.interval(e)
    return out


# ---- the protocol
def compare(rows, scores, draws=figs.DRAWS, rates=(), **keys):
    "Figures of each of `scores` (name to a series on the index of `rows`) and what the first is ahead of each other; two tidy frames"
    page = pd.factorize(rows.page)[0]
    W, cer = figs.draw_pages(page.max() + 1, draws), rows.cer.to_numpy(float).clip(0, 1)
    found = {n: figs.all_figures(cer, s.loc[rows.index].to_numpy(float), page, W, n in rates) for n, s in scores.items()}
    first = next(iter(found))
    tables = pd.concat([figs.tidy(f, **keys, predictor=n) for n, f in found.items()], ignore_index=True)
    ahead = [figs.difference(found[first], f, **keys, predictor=first, rival=n) for n, f in found.items() if n != first]
    return tables, pd.concat(ahead, ignore_index=True) if ahead else tables.iloc[:0]


def by(rows, column, least=20):
    "Rank correlation, mean error and bias within each value of `column`, the worst first"
    out = []
    for name, part in rows.groupby(column, observed=True):
        if len(part) < least: continue
        one = np.zeros(len(part), np.int64)
        r = figs.spearman(part.expected.to_numpy(float), part.cer.to_numpy(float), one, np.ones((1, 1)))[0]
        off = part.expected - part.cer
        out.append({"by": column, "name": str(name), "rows": len(part), "pages": part.page.nunique(), "cer": part.cer.mean(), "srocc": r,
                    "mae": off.abs().mean(), "bias": off.mean()})
    return pd.DataFrame(out, columns=["by", "name", "rows", "pages", "cer", "srocc", "mae", "bias"]).sort_values("srocc", ignore_index=True)


def split_figures(table, split, model, draws=figs.DRAWS, k=5, refit=True, say=print):
    "All of the protocol for one split: a dictionary of tidy frames and the predictions themselves"
    start = time.time()
    ours = held_out(table, split, whole(model), k)
    if not len(ours): return {}
    scores = {"legibility": ours.expected}
    def taught(name, columns, fit=raw):
        if columns: scores[name] = held_out(table, split, fit(replace(model, features=tuple(columns), signs={})), k).expected
    if refit:
        taught("brisque refitted", [c for c in table if c.startswith("mscn_")])
        taught("control file size", [c for c in table if c.startswith("control_")])
        taught("control shuffled", list(model.features), shuffled)
    synth = table[table.source == "synth"] if "source" in table else table
    if split in ("a", "c", "b", "b'", "c'"):
        for name, oracle in (("control family known", family_oracle), ("control family and severity known", severity_oracle)):
            scores[name] = held_out(synth, "a", oracle, k).expected
    for c in table:
        if c.startswith(("rival_", "ocr_")): scores[c] = rival_score(table, c)
    say(f"{split} {SPLITS[split]}: {len(ours)} rows of {ours.page.nunique()} pages, {time.time() - start:.0f} s")
    found = [described(ours, scores, split, draws)]
    if split[0] == "f": found.append(described(own := remapped(ours), {"legibility": own.expected}, f"{split}+", draws))
    return {name: pd.concat([f[name] for f in found], ignore_index=True) for name in FRAMES}


def described(ours, scores, split, draws=figs.DRAWS):
    "The tidy frames of one split: `ours`, rows with what was told of them, beside the other `scores` of the same rows"
    keys = {"split": split}
    figures, ahead = compare(ours, scores, draws, ("legibility",), **keys)
    page = pd.factorize(ours.page)[0]
    W, array = figs.draw_pages(page.max() + 1, draws), {c: ours[c].to_numpy(float) for c in ("cer", "expected", "low", "high")}
    family = ours.family.to_numpy(str)
    if "x_height_px" in ours: ours = ours.assign(height=pd.cut(ours.x_height_px, (0, 8, 10, 12, 15, 20, 30, 999)))
    worst = [by(ours, c) for c in ("family", "group", "layout", "font", "letters_of", "height", "no_text") if c in ours]
    return {"figures": figures, "ahead": ahead, "by": pd.concat(worst, ignore_index=True).assign(**keys),
            "coverage": figs.coverage(array["cer"], array["low"], array["high"], page, family, W).assign(**keys),
            "batches": figs.batch_means(array["cer"], array["expected"], page, family).assign(**keys), "predictions": ours.assign(**keys)}


def states(folder):
    "What the gate says of the pictures in each folder of `folder`: frame of folder, state, action and pictures"
    rows = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")):
        gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        told = None if gray is None else gate(gray)
        rows.append((path.relative_to(folder).parts[0], *(("unreadable", "") if told is None else (told.legibility.state, told.action))))
    counted = pd.DataFrame(rows, columns=["folder", "state", "action"]).value_counts(sort=False)
    return counted.rename("pictures").reset_index()


TOLD = "split page layout font letters_of source family severity cer chars x_height_px no_text expected low high".split()  # To keep
FRAMES = "figures", "ahead", "by", "coverage", "batches", "predictions"


def protocol(table, model, splits=tuple(s for s in SPLITS if "+" not in s), draws=figs.DRAWS, k=5, say=print):
    "Every split: a dictionary of tidy frames (figures, ahead, by, coverage, batches, predictions), each with the column `split`"
    table = lf.ready(table)
    done = [split_figures(table, s, model, draws, k, say=say) for s in splits]
    return {name: pd.concat([d[name] for d in done if d], ignore_index=True) for name in FRAMES}


def provenance(table, path):
    "What the figures rest on: digests of the rows that models learn from, and of the one shipped; the recogniser of letters; how the table was made"
    rows, shares = lf.ready(table), lr.prepared(table)
    return {"model_rows": lf.digest(rows[rows.source == "synth"]), "reasons_rows": lr.digest_of(shares[shares.source == "synth"]),
            "model": shipped_predictor().checksum} | lf.origin(path)


def headline(found):
    "The aims, and how far each was reached: split, figure, value, low, high, aim; coverage is to be within 0.05 of its aim, the others above it"
    f = found["figures"]
    f = f[(f.predictor == "legibility") & f.figure.isin(AIMS) & f.split.isin(["a", "c", "d", "e", "f"]) & f.value.notna()]
    rows = [dict(split=r.split, figure=r.figure, value=r.value, low=r.low, high=r.high, aim=AIMS[r.figure]) for r in f.itertuples()]
    a = found["ahead"]
    if len(a): rows += [dict(split=r.split, figure="srocc above refitted BRISQUE", value=r.value, low=r.low, high=r.high, aim=0.25)
                        for r in a[(a.rival == "brisque refitted") & (a.figure == "srocc") & a.split.isin(["c", "f"])].itertuples()]
    for name, column, figure, aim in (("batches", "within_0.05", "batches within 0.05", 0.9), ("coverage", "value", "interval coverage", 0.9)):
        c = found[name]
        rows += [dict(split=r["split"], figure=figure, value=r[column], low=r.get("low", np.nan), high=r.get("high", np.nan), aim=aim)
                 for r in c[c.family == "all"].to_dict("records") if r["split"] in ("a", "c", "f", "f+")]
    return pd.DataFrame(rows)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("table", type=Path)
    p.add_argument("--out", type=Path, default=Path("proof.json"))
    p.add_argument("--signs", type=Path, help="JSON, feature to +1 or -1")
    p.add_argument("--features", type=Path, help="JSON list of features; else all")
    p.add_argument("--splits", default=",".join(s for s in SPLITS if "+" not in s))
    p.add_argument("--pages", type=int, default=3, help="folds of pages")
    p.add_argument("--show", type=Path, help="a folder of folders with pictures without a known text: what the gate says of them")
    p.add_argument("--quick", action="store_true", help="200 draws")
    a = p.parse_args(argv)
    table = pd.read_parquet(a.table)
    features = json.loads(a.features.read_text()) if a.features else lf.feature_columns(table)
    model = lf.Boosting(tuple(features), json.loads(a.signs.read_text()) if a.signs else {f: SIGNS[f][0] for f in features if f in SIGNS})
    found = protocol(table, model, a.splits.split(","), 200 if a.quick else figs.DRAWS, a.pages)
    found |= {"headline": headline(found), "reasons": lr.protocol(table)}
    if a.show: found["states"] = states(a.show)
    with pd.option_context("display.width", 200, "display.max_rows", 999, "display.float_format", "{:.3f}".format):
        print(found["headline"].to_string(index=False))
        for s, f in found["figures"].groupby("split", sort=False):
            print(f"\n{s}: {SPLITS[s]}")
            wide = f.pivot(index="predictor", columns="figure", values="value")
            print(wide.loc[list(dict.fromkeys(f.predictor)), list(dict.fromkeys(f.figure))].to_string())
            print(found["by"][found["by"].split == s].query("by == 'family'").to_string(index=False))
            for name in ("coverage", "batches"): print(found[name][found[name].split == s].to_string(index=False))
    keep = {k: v for k, v in found.items() if k != "predictions"}
    told = found["predictions"]
    told[[c for c in TOLD if c in told]].to_parquet(a.out.with_suffix(".parquet"), index=False, compression="zstd")
    a.out.write_text(json.dumps({"table": lf.digest(table), "rows": len(table), "pages": int(table.page.nunique()), "model": repr(model),
                                 "provenance": provenance(table, a.table)} |
                                {k: json.loads(v.round(5).to_json(orient="records")) for k, v in keep.items()}, indent=1))


if __name__ == "__main__": main()
