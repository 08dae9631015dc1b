"""Teach the forest that shares the error of a page out among the reasons for it, and tell how often the true one is found.

    python tools/legibility_reasons.py TABLE.parquet [OUT.npz]

TABLE has a row for each image: page, family, chain (JSON, family to severity), cer, source and signs. Real pages are not taught from. Same
table, same file.
"""
import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from legibility_fit import digest, origin, page_folds

from ocr_quality.images.reasons import FONT, REASONS, Shares, reasons, save_shares
from ocr_quality.images.signs import SIGNS

ROOT = Path(__file__).resolve().parent.parent
OF = {family: name for name, c in REASONS.items() for family in c.families}
NAMES = (*REASONS, FONT)
TREES, LEAVES, LEAST, SHARE = 40, 200, 3, 0.3  # Trees, leaves of each, rows of a leaf, features tried at a node
SMALL = 9.0  # Height of x, px, below which an undamaged page's error is put down to small text


def prepared(table):
    "`table` without worn pictures, with `chain` as a dict, `base` (error of the undamaged page) and `rise` (what the damage added)"
    t = table.reset_index(drop=True)
    t["chain"] = [json.loads(c) if isinstance(c, str) else dict(c or {}) for c in t.chain]
    t["cer"] = t.cer.clip(0, 1)
    t["base"] = t.page.map(t[t.family == "clean"].drop_duplicates("page").set_index("page").cer).fillna(0)
    t["rise"] = (t.cer - t.base).clip(lower=0)
    return t[t.family.isin({"clean", "composite"} | set(OF))].reset_index(drop=True)


def digest_of(t):
    "Of what the forest learns from prepared rows"
    return digest(t.assign(chain=t.chain.map(json.dumps)))


def features_of(t): return tuple(c for c in t if c in SIGNS and t[c].notna().mean() > 0.5)


def costs(t):
    "What each family costs at severities 0, 0.1 to 1: means of rows with it alone, nearer ones more, made to rise"
    at, out = np.linspace(0, 1, 11), {}
    for family in OF:
        one = t[t.family == family]
        s = one.chain.map(lambda c: next(iter(c.values()), 0.0)).to_numpy(float)
        near = np.exp(-0.5 * ((at[:, None] - s) / 0.1) ** 2)
        out[family] = np.maximum.accumulate(near @ one.rise.to_numpy() / np.maximum(near.sum(1), 1e-9)) if len(one) else np.linspace(0, 0.6, 11)
    return lambda family, severity: float(np.interp(severity, at, out[family]))


def targets(t):
    "`(n, K)` shares of the error of each row, that add up to 1"
    cost, y = costs(t), np.zeros((len(t), len(NAMES)))
    for i, (chain, cer, rise) in enumerate(zip(t.chain, t.cer, t.rise)):
        due = rise / max(cer, 0.005)
        parts = {f: cost(f, s) + 1e-6 for f, s in chain.items()}
        for f, c in parts.items(): y[i, NAMES.index(OF[f])] += due * c / sum(parts.values())
        small = "x_height_px" in t and t.x_height_px.iat[i] < SMALL
        y[i, NAMES.index("small" if small else FONT)] += 1 - y[i].sum()
    return np.clip(y, 0, 1)


def taught(t, features, seed=0, recipe=""):
    "`Shares` taught on the rows of `t`"
    from sklearn.ensemble import ExtraTreesRegressor
    y, w = targets(t), np.sqrt(t.cer.to_numpy() + 0.02)
    model = ExtraTreesRegressor(TREES, max_leaf_nodes=LEAVES, min_samples_leaf=LEAST, max_features=SHARE, random_state=seed, n_jobs=1)
    model.fit(t[list(features)].to_numpy(np.float32), y, w)
    parts, start = [], 0
    for e in (e.tree_ for e in model.estimators_):
        inner = e.children_left >= 0
        own = np.arange(e.node_count)
        children = np.where(inner[:, None], np.stack([e.children_left, e.children_right], 1), own[:, None])
        order = _in_order(children)
        rank = np.argsort(order)
        value = np.where(inner[:, None], 0, np.rint(255 * e.value[:, :, 0]))
        parts.append((np.where(inner, e.feature, 0)[order], np.where(inner, e.threshold, 0)[order],
                      (e.missing_go_to_left.astype(bool) & inner)[order],
                      rank[children[order]] + start, value[order], start))
        start += e.node_count
    join = lambda k, kind: np.concatenate([p[k] for p in parts]).astype(kind)  # noqa: E731
    return Shares(tuple(features), NAMES, join(0, np.int16), join(1, np.float32), join(2, bool), join(3, np.int32), join(4, np.uint8),
                  np.array([p[5] for p in parts], np.int32), recipe)


def _in_order(children):
    "Nodes so that children stand behind their parents"
    out = [0]
    for k in out: out.extend(c for c in children[k] if c != k)
    return np.array(out)


def single(t, least=0.1, rise=0.05):
    "Rows with one damage that cost something"
    return (~t.family.isin(["clean", "composite"]) & (t.cer > least) & (t.rise > rise)).to_numpy()


def said(model, t, most=3):
    "Names of the reasons of each row, the error known"
    x = t[list(model.features)].to_numpy(float)
    empty = np.full((1, 1, x.shape[1]), np.nan)
    return [[r.name for r in reasons(SimpleNamespace(names=model.features, page=row, tiles=empty, letters=np.zeros((1, 1))), cer, most, model=model)]
            for row, cer in zip(x, t.cer)]


def held_out(t, features, k=5):
    "Reasons of each row, from forests that had not seen its page"
    fold, out = page_folds(t, k), pd.Series([[]] * len(t))
    for j in range(k):
        for i, names in zip(np.flatnonzero(fold == j), said(taught(t[fold != j].reset_index(drop=True), features), t[fold == j])): out[i] = names
    return out


def judged(names, t, pages):
    """How often the true reason is among the first: frame of `pages` (which they are), name (a family; "one damage"; "composites"; "undamaged", where
    any reason counts), rows, first and first_two (shares of them)"""
    at = np.flatnonzero(single(t))
    one = pd.DataFrame({"name": t.family.to_numpy()[at], "rows": 1} | {k: [OF[f] in names[i][:n] for i, f in zip(at, t.family.to_numpy()[at])]
                                                                      for k, n in (("first", 1), ("first_two", 2))})
    out = [one.assign(name="one damage").groupby("name").agg({"rows": "sum", "first": "mean", "first_two": "mean"}),
           one.groupby("name").agg({"rows": "sum", "first": "mean", "first_two": "mean"}).sort_values("first_two")]
    for name, rows in (("composites", (t.family == "composite") & (t.cer > 0.1)), ("undamaged", t.family == "clean")):
        named = [bool(names[i]) if name[0] == "u" else bool(set(names[i][:1]) & {OF[f] for f in t.chain[i]}) for i in t.index[rows]]
        if named: out.append(pd.DataFrame({"rows": len(named), "first": np.mean(named)}, index=[name]))
    return pd.concat(out).rename_axis("name").reset_index().assign(pages=pages)


def protocol(table):
    "Reasons of typeset pages held out, and of real pages, never taught from: frame as of `judged`"
    t = prepared(table)
    real, t = (t[t.source == s].reset_index(drop=True) for s in ("real", "synth"))
    features = features_of(t)
    out = [judged(held_out(t, features), t, "pages held out")]
    if len(real): out.append(judged(said(taught(t, features), real), real, "real pages, never taught from"))
    return pd.concat(out, ignore_index=True)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("table", type=Path)
    p.add_argument("out", type=Path, nargs="?", default=ROOT / "ocr_quality/images/data/reasons.npz")
    a = p.parse_args(argv)
    table = pd.read_parquet(a.table)
    t = prepared(table)
    t = t[t.source == "synth"].reset_index(drop=True)
    features = features_of(t)
    recipe = json.dumps({"table": digest_of(t), "rows": len(t), "pages": t.page.nunique(), "forest": [TREES, LEAVES, LEAST, SHARE]} | origin(a.table))
    model = taught(t, features, recipe=recipe)
    sha = save_shares(model, a.out)
    print(f"{a.out}: {a.out.stat().st_size / 1e3:.0f} kB, {len(model.roots)} trees, {len(features)} signs, sha256 {sha}", flush=True)
    for pages, found in protocol(table).groupby("pages", sort=False):
        print(f"{pages}\n{found.drop(columns='pages').round(3).to_string(index=False, na_rep='')}")


if __name__ == "__main__": main()
