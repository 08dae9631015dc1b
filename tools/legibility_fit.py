"""Teach the trees of the legibility index, and turn them into the arrays that the package ships.

    python tools/legibility_fit.py TABLE.parquet [--out ocr_quality/images/data/legibility.npz] [--signs SIGNS.json]

TABLE has a row for each image: page, family, cer and the features (`feature_columns`), see `tools/legibility_proof.py`. The map to an error
rate and the interval are learnt from predictions for pages and families that the trees had not seen. Same table, same file.
"""
import argparse
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ocr_quality.images.error_map import fit_conformal, fit_isotonic
from ocr_quality.images.glyphs import GLYPH_MODEL
from ocr_quality.images.signs import SIGNS
from ocr_quality.images.trees import Predictor, Trees, average, save_predictor

ROOT = Path(__file__).resolve().parent.parent
KEYS = """page image layout font letters_of source family group severity parts cer cer_raw bag chars point dpi x_height_px no_text""".split()
CHAINS = ("composite", "worn")  # Families of pictures with more than one damage
OURS = ("f_", "g_", "c_")  # Beginnings of the columns that are features of ours


def feature_columns(table):
    "Names of our features in `table`"
    return [c for c in table if c.startswith(OURS)]


def ready(table, clean=0.25, order=0.05):
    """`table` with `parts` (families of each row, a set), without pages whose undamaged image is read badly: clean error at `clean` or more, or more
    than `order` above the order-free one (the reading order is at fault)"""
    t = table.reset_index(drop=True).copy()
    t["cer"] = t.cer.clip(0, 1)
    chain = t.chain.map(lambda c: frozenset(json.loads(c) if isinstance(c, str) else c)) if "chain" in t else t.family.map(lambda f: frozenset([f]))
    t["parts"] = [c or frozenset([f]) for c, f in zip(chain, t.family)]
    base = t[t.family == "clean"].drop_duplicates("page").set_index("page")
    good = base.index[(base.cer < clean) & ((base.cer - base.bag <= order) if "bag" in base else True)]
    return t[t.page.isin(good)].reset_index(drop=True) if len(base) else t


# ---- targets: what the trees are taught, and back
def to_root(cer): return np.sqrt(np.clip(cer, 0, 1))


def to_logit(cer, floor=1 / 400): return np.log((c := np.clip(cer, floor, 1 - floor)) / (1 - c))


def to_plain(cer): return np.clip(cer, 0, 1)


TARGETS = {"root": to_root, "logit": to_logit, "plain": to_plain}


def page_weights(table):
    "Weights of mean 1, the same for each page together"
    w = 1 / table.groupby("page").page.transform("size").to_numpy(float)
    return w / w.mean()


# ---- scikit-learn's trees as our arrays
def _joined(parts, features, signs, base):
    "Trees from (feature, threshold, missing first, children, value, leaf) of each"
    starts = np.cumsum([0] + [len(p[0]) for p in parts])
    cat = lambda i, kind: np.concatenate([p[i] for p in parts]).astype(kind)  # noqa: E731
    leaf = cat(5, bool)
    own = np.arange(starts[-1])[:, None]
    children = np.where(leaf[:, None], own, np.concatenate([p[3] + s for p, s in zip(parts, starts)]))
    asked = np.where(leaf, 0, cat(0, np.int32)).astype(np.int32)
    threshold, value = np.where(leaf, 0.0, cat(1, float)), np.where(leaf, cat(4, float), 0.0)
    return Trees(tuple(features), np.asarray(signs, np.int8), asked, threshold, cat(2, bool) & ~leaf, children.astype(np.int32), value,
                 starts[:-1].astype(np.int32), float(base))


def from_boosting(model, features, signs):
    "A fitted HistGradientBoostingRegressor as `Trees`; says the same to the last bit"
    nodes = [p.nodes for (p,) in model._predictors]
    if any(n["is_categorical"].any() for n in nodes): raise ValueError("expected numerical features, got categories")
    children = [np.stack([n["left"], n["right"]], 1).astype(int) for n in nodes]
    parts = [(n["feature_idx"], n["num_threshold"], n["missing_go_to_left"], c, n["value"], n["is_leaf"]) for n, c in zip(nodes, children)]
    return _joined(parts, features, signs, np.ravel(model._baseline_prediction)[0])


def from_forest(model, features, signs):
    "A fitted ExtraTreesRegressor or RandomForestRegressor as `Trees`; its comparisons are in float32 there"
    parts = []
    for t in (e.tree_ for e in model.estimators_):
        leaf = t.children_left < 0
        parts.append((t.feature, t.threshold, t.missing_go_to_left,
                      np.stack([t.children_left, t.children_right], 1), t.value[:, 0, 0] / len(model.estimators_), leaf))
    return _joined(parts, features, signs, 0.0)


# ---- teaching
@dataclass(frozen=True)
class Boosting:
    "Boosted trees with monotone signs; several seeds are averaged"
    features: tuple[str, ...]
    signs: dict[str, int] = field(default_factory=dict, hash=False)
    target: str = "root"
    loss: str = "squared_error"
    trees: int = 300
    rate: float = 0.06
    leaves: int = 15
    depth: int | None = None
    least: int = 20
    l2: float = 1.0
    share: float = 0.03  # Of the features, drawn anew at each node
    bins: int = 64
    seeds: int = 1
    rows: float = 1.0  # Share of the pages each seed sees

    def fit(self, table, cer=None):
        "`Trees` taught on `table`; `cer` stands in for the table's own"
        from sklearn.ensemble import HistGradientBoostingRegressor
        x, y, w = table[list(self.features)].to_numpy(float), TARGETS[self.target](table.cer if cer is None else cer), page_weights(table)
        y, signs, models = np.asarray(y, float), [self.signs.get(f, 0) for f in self.features], []
        page = pd.factorize(table.page)[0]
        for seed in range(self.seeds):
            model = HistGradientBoostingRegressor(
                loss=self.loss, max_iter=self.trees, learning_rate=self.rate, max_leaf_nodes=self.leaves, max_depth=self.depth,
                min_samples_leaf=self.least, l2_regularization=self.l2, max_features=self.share, max_bins=self.bins, monotonic_cst=signs,
                early_stopping=False, random_state=seed)
            keep = np.random.default_rng(seed).random(page.max() + 1)[page] < self.rows
            models.append(from_boosting(model.fit(x[keep], y[keep], w[keep]), self.features, signs))
        return average(models)


def score(model, table):
    "What a taught model says of the rows of `table`"
    return model.predict(table[list(model.features)].to_numpy(float))


# ---- predictions for what was not seen
def page_folds(table, k=5, seed=0):
    "Fold 0 to k-1 of each row, by page"
    pages = np.sort(table.page.unique())
    fold = dict(zip(np.random.default_rng(seed).permutation(pages), np.arange(len(pages)) % k))
    return table.page.map(fold).to_numpy()


def family_folds(table, k=5, seed=0):
    "Fold 0 to k-1 of each row, by family; chains get -1, in no fold"
    names = np.sort([f for f in table.family.unique() if f not in CHAINS])
    fold = dict(zip(np.random.default_rng(seed).permutation(names), np.arange(len(names)) % k))
    return table.family.map(fold).fillna(-1).astype(int).to_numpy()


def diagonal(model, table, k=3, rounds=1):
    "Raw predictions for rows whose page and family were both held out, and the rows' positions; a k-th of the rows in each round"
    page, family, names, raws, rows = page_folds(table, k), family_folds(table, k), table.family.to_numpy(), [], []
    apart = [table.parts.map(frozenset(names[family == j]).isdisjoint).to_numpy() for j in range(k)]
    for r in range(rounds):
        for i in range(k):
            j = (i + r) % k
            test = (page == i) & (family == j)
            train = (page != i) & apart[j]
            if test.any() and train.any():
                raws.append(score(model.fit(table[train]), table[test]))
                rows.append(np.flatnonzero(test))
    return np.concatenate(raws), np.concatenate(rows)


def apart(model, table, k=3):
    "Raw predictions for all rows, their page held out"
    page, out = page_folds(table, k), np.empty(len(table))
    for i in range(k): out[page == i] = score(model.fit(table[page != i]), table[page == i])
    return out


def fit_predictor(model, table, level=0.9, rounds=3, version="", recipe="", k=3):
    """The whole: trees on all rows of `table`; the map from predictions with the page held out, so that it reads as an error rate under damage of a
    known kind; the interval from these and from as many whose family was held out too, so that it allows for damage of an unknown kind"""
    known, (raw, rows) = apart(model, table, k), diagonal(model, table, rounds=rounds)
    iso, seen = fit_isotonic(known, table.cer, page_weights(table)), table.iloc[rows]
    same = np.arange(len(table)) if rounds > 1 else rows
    expected = np.concatenate([iso.apply(known[same]), iso.apply(raw)])
    conformal = fit_conformal(expected, np.concatenate([table.cer.iloc[same], seen.cer]), np.concatenate([table.page.iloc[same], seen.page]), level)
    return Predictor(model.fit(table), iso, conformal, version, recipe)


def digest(table):
    "SHA-256 of what a model can learn from a table, for the recipe"
    plain = table[["page", "family", "cer", *feature_columns(table)]]
    return hashlib.sha256(pd.util.hash_pandas_object(plain, index=False).to_numpy().tobytes()).hexdigest()


def origin(path):
    "For the recipe: the recogniser whose signs a table holds, and how the pictures and readings beside it were made"
    note = Path(path).with_name("made.json")
    return {"glyphs": GLYPH_MODEL, "made": json.loads(note.read_text(encoding="utf-8")) if note.exists() else None}


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("table", type=Path)
    p.add_argument("--out", type=Path, default=ROOT / "ocr_quality/images/data/legibility.npz")
    p.add_argument("--signs", type=Path, help="JSON, feature to +1 or -1")
    p.add_argument("--features", type=Path, help="JSON list of features; else all")
    p.add_argument("--seeds", type=int, default=3, help="models that are averaged")
    a = p.parse_args(argv)
    table = ready(pd.read_parquet(a.table))
    table = table[table.source == "synth"] if "source" in table else table
    features = tuple(json.loads(a.features.read_text())) if a.features else tuple(feature_columns(table))
    model = Boosting(features, json.loads(a.signs.read_text()) if a.signs else {f: SIGNS[f][0] for f in features if f in SIGNS})
    model = replace(model, seeds=a.seeds)
    recipe = json.dumps({"table": digest(table), "rows": len(table), "pages": table.page.nunique(), "model": repr(model)} | origin(a.table))
    made = save_predictor(fit_predictor(model, table, version="1", recipe=recipe), a.out)
    print(f"{a.out}: {a.out.stat().st_size / 1e6:.2f} MB, {len(made.trees.roots)} trees, sha256 {made.checksum}")


if __name__ == "__main__": main()
