"The proof's figures are right on rows whose answers are known, and its splits let nothing leak"
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ocr_quality.images.glyphs import GLYPH_MODEL
from ocr_quality.images.legibility import shipped_predictor
from ocr_quality.images.reasons import shipped_shares
from ocr_quality.synth import page
from ocr_quality.typeset import FONTS

pytest.importorskip("sklearn.ensemble")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import legibility_data as ld  # noqa: E402
import legibility_figures as figs  # noqa: E402
import legibility_fit as lf  # noqa: E402
import legibility_proof as lp  # noqa: E402
import legibility_reasons as lr  # noqa: E402

FAMILIES = {"clean": "clean", "blur": "optics", "motion": "optics", "noise": "sensor", "jpeg": "compression", "faded": "print", "skew": "geometry"}


def made_rows(pages=24, levels=4, seed=0, real=0, law=True, spread=0.5):
    "Rows with a known law: the error follows a hidden trouble of page, family and severity; two features see it, one sees page and family only"
    rng, rows = np.random.default_rng(seed), []
    for p in range(pages + real):
        for k, (family, group) in enumerate([*FAMILIES.items(), ("composite", "composite")]):
            for s in [0.0] if family == "clean" else rng.random(levels):
                parts = {family: s} if family != "composite" else {"blur": s, "noise": s / 2}
                chain = json.dumps(parts if family != "clean" else {})
                rows.append(dict(page=f"p{p}", source="synth" if p < pages else "real", layout="letter", font=f"font{p % 5}", family=family,
                                 group=group, severity=s, k=k, p=p, chain=chain, chars=400))
    t = pd.DataFrame(rows)
    page, fam = rng.normal(size=pages + real)[t.p] * 0.5, rng.normal(size=len(FAMILIES) + 1)[t.k] * spread
    trouble = 5 * t.severity - 2.5 + page + fam * (t.severity > 0)
    t["cer"] = np.clip(1 / (1 + np.exp(-trouble - rng.normal(size=len(t)) * 0.3)), 0, 1).where(t.family != "clean", 0.01)
    see = trouble if law else np.zeros(len(t))
    t["f_a"], t["f_b"] = see + rng.normal(size=len(t)) * 0.4, -see + rng.normal(size=len(t)) * 0.8
    t["f_page"], t["f_family"] = t.p + 0.0, t.k + 0.0
    t["rival_worse"], t["rival_better"] = trouble + rng.normal(size=len(t)) * 2, -trouble + rng.normal(size=len(t)) * 2
    t["control_bytes"] = rng.random(len(t))
    for i in range(3): t[f"mscn_{i}"] = trouble + rng.normal(size=len(t)) * 3
    t.loc[3, "rival_worse"] = np.nan
    return t.drop(columns=["p", "k"])


QUICK = dict(trees=40, rate=0.1, leaves=6, depth=3, least=5)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    page = np.repeat(np.arange(15), 8)
    score = np.round(rng.random(120) + page / 30, 1)
    return np.clip(np.round(score - 0.4 + rng.normal(size=120) * 0.2, 1), 0, 1), score, page


def drawn(values, page, w): return np.concatenate([np.tile(values[page == p], int(n)) for p, n in enumerate(w)])


@pytest.mark.parametrize("name, ours, theirs", [
    ("spearman", figs.spearman, lambda s, c: stats.spearmanr(s, c)[0]), ("kendall", figs.kendall, lambda s, c: stats.kendalltau(s, c)[0]),
    ("pearson", figs.pearson, lambda s, c: stats.pearsonr(s, c)[0])])
def test_correlations_of_each_draw_are_those_of_the_rows_drawn(rows, name, ours, theirs):
    cer, score, page = rows
    W = figs.draw_pages(15, 20)
    want = [theirs(drawn(score, page, w), drawn(cer, page, w)) for w in W]
    np.testing.assert_allclose(ours(score, cer, page, W), want, atol=1e-9)


def test_the_roc_of_each_draw_is_that_of_the_rows_drawn(rows):
    from sklearn.metrics import roc_auc_score, roc_curve
    cer, score, page = rows
    W = figs.draw_pages(15, 20)
    area, fpr = figs.roc(score, cer > 0.3, page, W)
    for w, a, f in zip(W, area, fpr):
        s, bad = drawn(score, page, w), drawn(cer, page, w) > 0.3
        x, y, _ = roc_curve(bad, s)
        assert a == pytest.approx(roc_auc_score(bad, s)) and f == pytest.approx(x[np.argmax(y >= 0.95 - 1e-12)])


def test_within_page_figures_and_medians_are_those_of_numpy(rows):
    cer, score, page = rows
    W = figs.draw_pages(15, 20)
    each = np.array([stats.spearmanr(score[page == p], cer[page == p])[0] for p in range(15)])
    np.testing.assert_allclose(figs.within_pages(score, cer, page, W), [np.median(np.repeat(each, w.astype(int))) for w in W])


def test_all_figures_of_a_perfect_score_are_perfect(rows):
    cer, _, page = rows
    f = {k: v[0] for k, v in figs.all_figures(cer, cer, page, figs.draw_pages(15, 10), True).items()}
    assert all(f[k] == pytest.approx(1) for k in ("srocc", "kendall", "plcc", "within_page", "middle", "auc_5%", "auc_20%"))
    assert all(f[k] == pytest.approx(0, abs=1e-9) for k in ("rmse", "mae", "bias", "fpr_10%"))
    assert f["tied_low"] == (cer == 0).mean() and f["tied_high"] == pytest.approx((cer == cer.max()).mean() if (cer == cer.max()).sum() > 1 else 0)


def test_the_logistic_finds_a_logistic_whatever_its_direction():
    s = np.linspace(-3, 3, 200)
    cer = 0.1 + 0.8 / (1 + np.exp(-2 * s))
    for sign in (1, -1): np.testing.assert_allclose(figs.logistic4(sign * s, cer), cer, atol=1e-3)


def test_intervals_by_page_are_wider_than_by_row():
    "Pages that shift together carry less than their rows pretend"
    rng = np.random.default_rng(1)
    page = np.repeat(np.arange(30), 20)
    shift = rng.normal(size=30)[page]
    score, cer = shift + rng.normal(size=600) * 0.3, shift + rng.normal(size=600) * 0.3
    wide = figs.interval(figs.spearman(score, cer, page, figs.draw_pages(30, 500)))
    narrow = figs.interval(figs.spearman(score, cer, np.arange(600), figs.draw_pages(600, 500)))
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"]) and wide["low"] < wide["value"] < wide["high"]


def test_a_difference_is_drawn_in_pairs(rows):
    cer, score, page = rows
    W = figs.draw_pages(15, 200)
    a = figs.all_figures(cer, score, page, W)
    same = figs.difference(a, a)
    assert (same[["value", "low", "high"]].dropna() == 0).all(axis=None)


def test_batch_means_of_an_unbiased_and_a_biased_expectation():
    rng = np.random.default_rng(0)
    page, family = np.repeat(np.arange(60), 10), np.tile(np.arange(10), 60).astype(str)
    cer = rng.random(600)
    right = figs.batch_means(cer, cer, page, family).set_index("family")
    wrong = figs.batch_means(cer, cer + 0.06, page, family).set_index("family")
    assert (right["within_0.05"] == 1).all() and (wrong["within_0.05"] == 0).all() and np.allclose(wrong.bias, 0.06) and right.pages["all"] == 60


def test_coverage_counts_pages_alike():
    page, family = np.r_[0, np.ones(9, int)], np.array(["x"] * 10)
    got = figs.coverage(np.full(10, 0.5), np.r_[0.4, np.full(9, 0.6)], np.ones(10), page, family, figs.draw_pages(2, 10))
    assert got.value.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("split", [s for s in lp.SPLITS if "+" not in s])
def test_splits_hold_out_what_they_say(split):
    t = made_rows(real=4)
    mild = json.dumps(dict.fromkeys(("blur", "jpeg", "skew", "noise"), 0.1))
    worn = t[(t.family == "composite") & (t.source == "synth")].assign(family="worn", group="worn", chain=mild)
    t = lf.ready(pd.concat([t, worn], ignore_index=True))
    seen, worn_taught = np.zeros(len(t), int), 0
    for train, test in lp.folds(t, split):
        a, b = t[train], t[test]
        seen += test
        worn_taught += (a.family == "worn").sum()
        assert not (train & test).any() and (a.source == "synth").all()
        if split in ("a", "c", "c'", "d"): assert not set(a.page) & set(b.page)
        taught = frozenset().union(*a.parts)
        if split[0] in "bcf": assert not taught & frozenset().union(*b.parts)
        if split.endswith("'"): assert not set(a.group) & set(b.group) - set(lf.CHAINS)
        assert (b.family == "composite").all() if split in "de" else not b.family.isin(lf.CHAINS).any()
        if split in "de": assert not a.family.isin(lf.CHAINS).any()
    synth, composite, single = t.source == "synth", t.family == "composite", ~t.family.isin(lf.CHAINS)
    tested = {"d": synth & composite, "e": ~synth & composite, "f": ~synth & single}.get(split[0], synth & single)
    assert (seen == tested.astype(int)).all() and (worn_taught > 0) == (split not in "de")


def test_what_is_done_to_a_page_is_planned_by_its_name():
    plan = ld.conditions(3, "synth_0003", worn=4)
    assert ld.conditions(3, "synth_0003") == plan[:-4] and [ld.family_of(c) for c in plan].count("clean") == 1
    named = [ld.family_of(c) for c in plan]
    assert named.count("composite") == ld.COMPOSITES and named[-4:] == ["worn"] * 4 and set(ld.FAMILIES) <= set(named)
    assert all(4 <= len(c) <= 6 and max(c.values()) <= 0.25 for c in plan[-4:])
    assert ld.conditions(3, "synth_0003", worn=4) == plan != ld.conditions(3, "synth_0004", worn=4)


def test_a_page_is_read_once_and_again_where_more_is_planned(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(ld, "ocr", lambda *a, **k: read.append(1) or SimpleNamespace(text="a page"))
    mild = dict.fromkeys(("jpeg", "noise", "skew", "dark"), 0.1)
    monkeypatch.setattr(ld, "conditions", lambda k, label, worn=0: [{}, {"jpeg": 0.3}, *[mild] * worn])
    for folder in ("rows", "images"): (tmp_path / folder).mkdir()

    def readings(worn):
        before = len(read)
        ld.run_page(tmp_path, 0, "p", np.full((80, 80), 230, np.uint8), "a page", 10.0, {"source": "synth"}, worn=worn)
        return len(read) - before
    assert [readings(0), readings(0), readings(1), readings(1)] == [2, 0, 3, 0]
    rows = [json.loads(line) for line in (tmp_path / "rows" / "p.jsonl").read_text().splitlines()]
    assert [r["family"] for r in rows] == ["clean", "jpeg", "worn"] and len(list((tmp_path / "images").iterdir())) == 3


def test_a_model_that_knows_page_and_family_by_heart_gains_nothing_where_both_are_held_out():
    t = lf.ready(made_rows(30, law=False, spread=3))
    # The family's number, and the page's, in no order: near numbers mean nothing
    rng = np.random.default_rng(5)
    t["f_page"] = t.page.map(dict(zip(t.page.unique(), rng.permutation(t.page.nunique())))).astype(float)
    t["f_family"] = t.family.map(dict(zip(t.family.unique(), rng.permutation(t.family.nunique())))).astype(float)
    t = t[t.family != "clean"]
    model = lf.Boosting(("f_page", "f_family"), trees=30, rate=0.2, least=2, share=1.0)
    def follows(split):
        rows = lp.held_out(t, split, lp.raw(model))
        return stats.spearmanr(rows.expected, rows.cer)[0]
    assert follows("a") > follows("c") + 0.2 and follows("c") < 0.2


def test_shuffled_labels_give_nothing_and_the_law_is_found():
    t = lf.ready(made_rows())
    model = lf.Boosting(("f_a", "f_b"), {"f_a": 1, "f_b": -1}, **QUICK)
    rows = lp.held_out(t, "c", lp.raw(model))
    chance = lp.held_out(t, "c", lp.shuffled(replace(model, signs={})))
    assert stats.spearmanr(rows.expected, rows.cer)[0] > 0.85 and abs(stats.spearmanr(chance.expected, chance.cer)[0]) < 0.15


def test_the_whole_protocol_runs_and_its_frames_are_tidy(tmp_path, capsys):
    t = made_rows(14, 3, real=4)
    found = lp.protocol(t, lf.Boosting(("f_a", "f_b"), {"f_a": 1}, **QUICK), ("c", "d", "e", "f"), 100, 3, say=lambda s: None)
    f = found["figures"]
    assert list(f) == ["split", "predictor", "figure", "value", "low", "high"] and not f.duplicated(["split", "predictor", "figure"]).any()
    assert {"legibility", "brisque refitted", "control file size", "control shuffled", "rival_worse", "rival_better"} <= set(f.predictor)
    s = f[(f.split == "c") & (f.figure == "srocc")].set_index("predictor").value
    assert s["legibility"] > 0.8 > s["brisque refitted"] and s["rival_better"] > 0.3 and s["rival_worse"] > 0.3 and abs(s["control shuffled"]) < 0.35
    a = found["ahead"].query("split == 'c' and figure == 'srocc' and rival == 'control file size'").iloc[0]
    assert a.value == pytest.approx(s["legibility"] - s["control file size"]) and a.low > 0
    head = lp.headline(found)
    assert {"srocc", "within_page", "middle", "srocc above refitted BRISQUE", "batches within 0.05", "interval coverage"} == set(head.figure)
    assert set(head.split) == {"c", "d", "e", "f", "f+"} and not head.duplicated(["split", "figure"]).any()
    assert set(found["predictions"].query("split == 'f'").page) == {f"p{k}" for k in range(14, 18)}
    p = found["predictions"]
    assert ((p.low <= p.expected) & (p.expected <= p.high) & p.expected.between(0, 1)).all()


def test_a_map_of_their_own_takes_the_bias_off_pages_it_was_not_learnt_from():
    rng = np.random.default_rng(3)
    cer = rng.random(600)
    rows = pd.DataFrame({"page": np.repeat(np.arange(60), 10), "cer": cer, "expected": 0.5 + 0.5 * cer, "low": 0.0, "high": 1.0})
    own = lp.remapped(rows)
    assert rows.expected.mean() - cer.mean() > 0.2 and abs(own.expected.mean() - cer.mean()) < 0.02
    assert np.abs(own.expected - cer).max() < 0.1 and ((own.low <= own.expected) & (own.expected <= own.high)).all()


def test_pages_read_badly_even_when_clean_are_left_out():
    t = made_rows(4)
    t.loc[(t.page == "p1") & (t.family == "clean"), "cer"] = 0.3
    t["bag"] = t.cer
    t.loc[(t.page == "p2") & (t.family == "clean"), ["cer", "bag"]] = [0.2, 0.1]
    assert set(lf.ready(t).page) == {"p0", "p3"}


def test_reasons_are_counted_on_pages_that_one_damage_made_worse():
    rows = [("clean", {}, 0.0), ("defocus", {"defocus": 0.5}, 0.5), ("shadow", {"shadow": 0.5}, 0.4), ("jpeg", {"jpeg": 0.1}, 0.02),
            ("composite", {"shadow": 0.5, "jpeg": 0.2}, 0.6)]
    t = pd.DataFrame(rows, columns=["family", "chain", "cer"])
    t = lr.prepared(t.assign(page="p", source="synth", chain=t.chain.map(json.dumps)))
    got = lr.judged([["grain"], ["blurred"], ["dark", "shadow"], ["compressed"], ["moved"]], t, "all").set_index("name")
    assert got.loc["one damage", ["rows", "first", "first_two"]].tolist() == [2, 0.5, 1.0]
    assert got.loc["shadow", ["rows", "first", "first_two"]].tolist() == [1, 0.0, 1.0] and "jpeg" not in got.index
    assert got.loc["composites", "first"] == 0 and got.loc["undamaged", "first"] == 1


def test_readings_made_otherwise_and_lacking_fonts_stop_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr(ld, "installed_fonts", lambda: dict.fromkeys(FONTS))
    made = {"pictures": "a", "psm": 6, "engine": "5.3.0", "eng": {"eng.traineddata": "b"}}
    monkeypatch.setattr(ld, "made_by", lambda lang: made)
    ld.check_place(tmp_path, "eng")
    ld.check_place(tmp_path, "eng")
    assert json.loads((tmp_path / "made.json").read_text()) == made
    monkeypatch.setattr(ld, "made_by", lambda lang: made | {"engine": "5.5.0"})
    with pytest.raises(SystemExit, match=r"got others \(engine\)"): ld.check_place(tmp_path, "eng")
    assert json.loads((tmp_path / "made.json").read_text()) == made
    monkeypatch.setattr(ld, "installed_fonts", lambda: {f: None for f in FONTS if f != "Lato-Regular"})
    with pytest.raises(SystemExit, match="lacking Lato-Regular; apt install fonts-lato$"): ld.check_place(tmp_path, "eng")


def test_the_proof_was_made_with_the_models_that_are_shipped():
    made = json.loads((ROOT / "nbs/tutorials/legibility_proof.json").read_text())["provenance"]
    assert made["model"] == shipped_predictor().checksum and made["glyphs"] == GLYPH_MODEL
    for rows, recipe in (("model_rows", shipped_predictor().recipe), ("reasons_rows", shipped_shares().recipe)):
        recipe = json.loads(recipe)
        assert made[rows] == recipe["table"] and (made["glyphs"], made["made"]) == (recipe["glyphs"], recipe["made"]) and made["made"]["engine"]


def test_the_figures_in_the_readme_are_those_of_the_proof():
    proof, readme = json.loads((ROOT / "nbs/tutorials/legibility_proof.json").read_text()), (ROOT / "README.md").read_text(encoding="utf-8")
    said = " ".join(readme[readme.index("`expected_cer` and `legibility` (100 less"):].split("`make legibility`")[0].split())
    f = {(r["split"], r["predictor"]): f"{r['value']:.2f}" for r in proof["figures"] if r["figure"] == "srocc"}
    ours, refitted = ([f[s, p] for s in "acf"] for p in ("legibility", "brisque refitted"))
    share = {r["split"]: f"{100 * r['within_0.05']:.0f} %" for r in proof["batches"] if r["family"] == "all"}
    held = {r["split"]: f"{100 * r['value']:.0f} %" for r in proof["coverage"] if r["family"] == "all"}
    for expected in (f"error is {ours[0]};", f"too, {ours[1]}, and", f"damage {ours[2]}.", "has {}, {} and {}".format(*refitted),
                     f"in {share['a']} of batches", f"in {share['c']} under unknown", f"typescripts in {share['f']}, and in {share['f+']} with",
                     f"{held['a']} of pages under known kinds of damage, {held['c']} under unknown ones, {held['f']} on typescripts"):
        assert expected in said, (expected, said)


def test_states_counts_what_the_gate_says_of_each_folder(tmp_path):
    letter, blank = page(3, 110, "letter").gray, np.full((400, 300), 245, np.uint8)
    for folder, name, gray in (("letters", "a.png", letter), ("letters", "b.png", np.rot90(letter, 2)), ("backs", "c.png", blank)):
        (tmp_path / folder).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / folder / name), gray)
    (tmp_path / "backs" / "d.png").write_bytes(b"no picture")
    got = lp.states(tmp_path).set_index(["folder", "state", "action"]).pictures.to_dict()
    assert got == {("letters", "text", "pass"): 1, ("letters", "text", "repair"): 1, ("backs", "blank", "human"): 1,
                   ("backs", "unreadable", ""): 1}
