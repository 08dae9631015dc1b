"Why and where: the metric that moved, the share of pages, the scanner that carries it, mixture or pages, the pages that show it"
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocr_quality import synth
from ocr_quality.core import MetricError
from ocr_quality.images.quality import default_metrics, measure
from ocr_quality.judge.carriers import carriers, contributions, tag_texts
from ocr_quality.judge.cause import affected_share, driving_pages, explain, worst_pages
from ocr_quality.judge.mix import split_shift
from ocr_quality.judge.moves import DEFECTS, NOTABLE, all_moves, expect, looks_like, moved, quantile_noise
from ocr_quality.judge.multiplicity import holm
from ocr_quality.metrics import METRICS, register_metric
from ocr_quality.synth import DEFECT_METRIC
from ocr_quality.tell.change import LINES, _p, _plural, cause_facts, cause_lines

SCANNERS = np.array([f"scanner-{i}" for i in range(1, 6)])
VOLUME = np.array([0.2, 0.36, 0.2, 0.16, 0.08])


def batch(seed, n=100, name="now", bad=0.0, failing=("scanner-2",), fax=0.1, share=1.0, day=0.3):
    "A batch of five scanners with levels of their own, a day that moves all, faxes that are worse; `bad` in sd of a page"
    rng = np.random.default_rng([seed, n])
    s, form = rng.choice(5, n, p=VOLUME), np.where(rng.random(n) < fax, "fax", "claim")
    hit = bad * (np.isin(SCANNERS[s], failing) & (rng.random(n) < share))
    common = day * rng.standard_normal() + 0.15 * rng.standard_normal(5)[s]
    def number(level, sd, way, side=1.0):
        worse = common + rng.standard_normal(n) + side * hit + 3 * (form == "fax") + 0.5 * np.sin(s)
        return level + way * sd * worse
    return pd.DataFrame({"batch": name, "uri": [f"{name}/{SCANNERS[k]}/claim_{i:04d}.jpg" for i, k in enumerate(s)], "page": 1,
                         "tag_scanner": SCANNERS[s], "tag_form": form, "brisque": number(25, 3, 1), "sharpness": number(6, 0.3, -1),
                         "contrast": number(0.7, 0.02, -1, 0.5), "brightness": 235 + 2 * rng.standard_normal(n), "blank": 0.0, "reason": None})


@pytest.fixture(scope="module")
def before(): return pd.concat([batch(100 + i, name=f"b{i:02d}") for i in range(30)], ignore_index=True)


# chance


@pytest.mark.parametrize("n", [5, 8, 20, 100, 800])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_noise_of_a_quantile_is_that_of_drawing_pages(n, q, shape):
    rng = np.random.default_rng(0)
    pool = np.sort(rng.standard_normal(20_000) if shape == "normal" else rng.gamma(2, 1, 20_000))
    drawn = np.quantile(rng.choice(pool, (3000, n)), q, axis=1)
    bias, sd = quantile_noise(pool, [n], q)
    assert sd[0] == pytest.approx(drawn.std(), rel=0.12 if n == 5 else 0.08)
    assert np.quantile(pool, q) + bias[0] == pytest.approx(drawn.mean(), abs=0.1 * drawn.std() + 0.02)


def test_batches_of_any_size_teach_what_batches_scatter():
    rng, between = np.random.default_rng(1), []
    for _ in range(40):
        n = rng.integers(5, 200, 60)
        noise = 1.25 / np.sqrt(n)
        between.append(expect(3 + 0.3 * rng.standard_normal(60) + noise * rng.standard_normal(60), noise, 0.1)[3])
    assert np.mean(between) == pytest.approx(0.3, abs=0.05)


def test_one_bad_batch_among_the_earlier_ones_teaches_nothing():
    past = np.r_[np.random.default_rng(2).normal(5, 0.1, 30), 50.0]
    centre, sd, *_ = expect(past, np.full(31, 0.05), 0.05)
    assert centre == pytest.approx(5, abs=0.1) and sd < 0.3


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_keeps_order_and_never_helps(p):
    out = holm(p)
    assert (out >= np.asarray(p)).all() and (out <= 1).all()
    assert all(x <= y for x, y in zip(out[np.argsort(p, kind="stable")], out[np.argsort(p, kind="stable")][1:], strict=False))


def test_calm_batches_move_rarely_beyond_chance(before):
    alarms = [(moved(batch(1000 + i, n=40), before).p < 0.05).any() for i in range(100)]
    assert sum(alarms) <= 12, "5 of 100 are meant, for all metrics together"


@pytest.mark.parametrize("n", [8, 800])
def test_the_same_move_is_surer_with_more_pages(before, n):
    row = all_moves(batch(5, n=n, bad=1.5, failing=SCANNERS, day=0), before).set_index(["metric", "statistic"]).loc[("sharpness", "median")]
    assert (row.sd < 0.13) == (n == 800) and row.now < row.before


def test_a_metric_that_hardly_varies_does_not_win(before):
    register_metric("steady", "lower", "px")
    try:
        past, now = before.assign(noise=0.7), batch(3, bad=4).assign(noise=0.8)
        assert moved(now, past).metric[0] == "sharpness", "a tenth of a grey level never seen before is no cause"
    finally: del METRICS["steady"]


def test_every_metric_of_a_page_has_a_notable_change():
    assert set(default_metrics()) - {"blank"} <= set(NOTABLE)
    assert {m for m, _ in DEFECTS} | {"brisque", "effective_dpi", "ink_coverage", "expected_cer", "legibility"} == set(default_metrics()) - {"blank"}


# real pages


@pytest.fixture(scope="module")
def sheets():
    "Clean pages as scanners deliver them, with slightly different light, lens and angle"
    rng = np.random.default_rng(0)
    drawn = [synth.page(i, 100, kind, ink=int(rng.integers(25, 75)), grain=2).gray for i, kind in enumerate(["claim"] * 6 + ["letter"] * 2)]
    return [synth.rotate(synth.degrade(drawn[i % 8], "blur", rng.uniform(0.1, 0.14), seed=i), rng.normal(0, 0.4)) for i in range(48)]


@pytest.fixture(scope="module")
def clean_pages(sheets): return pd.DataFrame([measure(s) for s in sheets])


def deliver(rows, name, seed=0):
    "Rows of measured pages as a batch"
    rows = rows.reset_index(drop=True)
    return rows.assign(batch=name, page=1, uri=[f"{name}/{i}.jpg" for i in range(len(rows))], reason=None,
                       tag_scanner=[f"scanner-{i % 3}" for i in range(len(rows))])


@pytest.mark.parametrize("defect,severity", [(d, s) for d in DEFECT_METRIC for s in (0.3, 0.7)])
def test_the_metric_tied_to_a_defect_comes_first(sheets, clean_pages, defect, severity):
    past = pd.concat([deliver(clean_pages.sample(16, random_state=i), f"b{i}") for i in range(20)], ignore_index=True)
    bad = pd.DataFrame([measure(synth.degrade(sheets[i], defect, severity, seed=i)) for i in range(6)])
    now = deliver(pd.concat([clean_pages.iloc[20:32], bad]), "now")
    now["tag_scanner"] = ["scanner-0"] * 6 + ["scanner-1"] * 6 + ["scanner-2"] * 6
    cause = explain(now, past, "brisque")
    leads = (cause.inside or cause.moves)[0]
    assert leads["metric"] == DEFECT_METRIC[defect] and leads["p"] < 0.05 and leads["moved"] > 0


def test_two_damages_at_once_have_no_name(before):
    both = batch(4, bad=6, failing=SCANNERS)
    both["brightness"] -= 50
    assert looks_like(moved(both, before))[0] is None


# who carries it


@pytest.mark.parametrize("failing,value", [(("scanner-2",), {"scanner-2"}), (("scanner-5",), {"scanner-5"}),
                                           (("scanner-1", "scanner-4"), {"scanner-1", "scanner-4"})])
def test_the_failing_scanners_are_named(before, failing, value):
    found = carriers(batch(7, n=200, bad=4, failing=failing), before, "sharpness")
    assert {c["value"] for c in found.named} == value
    assert found.rows.groupby("tag").carries.sum().to_numpy() == pytest.approx(1)


def test_nobody_is_named_without_a_fault(before):
    named = [bool(carriers(batch(2000 + i, n=60), before, "sharpness").named) for i in range(100)]
    assert sum(named) <= 7


def test_where_all_are_worse_nobody_is_named(before):
    cause = explain(batch(8, n=200, bad=3, failing=SCANNERS), before, "sharpness")
    assert not cause.carriers and "scanner" in cause.alike and any("all are alike" in line for line in cause_lines(cause))


def test_a_scanner_that_was_always_worse_is_not_named(before):
    past = before.assign(sharpness=before.sharpness - 2 * (before.tag_scanner == "scanner-3"))
    now = batch(9, n=200)
    assert not carriers(now.assign(sharpness=now.sharpness - 2 * (now.tag_scanner == "scanner-3")), past, "sharpness").named


def test_new_and_vanished_scanners(before):
    now = batch(10, n=200, bad=4).replace({"tag_scanner": {"scanner-2": "scanner-6"}})
    found = carriers(now, before, "sharpness")
    assert [(c["value"], c["state"]) for c in found.named] == [("scanner-6", "new")]
    assert set(found.rows.value[found.rows.state == "gone"]) == {"scanner-2"}
    assert any("it is new" in line for line in cause_lines(explain(now, before, "sharpness")))


def faxes_by_scanner(seed, shares, n=200, bad=0.0, failing=(), name="now"):
    "A batch in which each scanner has its own share of faxes, 0.1 unless given, and a fax is as bad as ever"
    now, rng = batch(seed, n=n, fax=0, bad=bad, failing=failing, name=name), np.random.default_rng(seed + 5)
    fax = rng.random(n) < np.array([shares.get(s, 0.1) for s in now.tag_scanner])
    now.loc[fax, "tag_form"] = "fax"
    for metric, sd in (("brisque", 3), ("sharpness", -0.3), ("contrast", -0.02)): now.loc[fax, metric] += 3 * sd
    return now


@pytest.mark.parametrize("shares", [{"scanner-1": 0.9}, {"scanner-5": 0.9}, {"scanner-1": 0.5} | {f"scanner-{i}": 0 for i in range(2, 6)}],
                         ids=["more faxes", "on a small scanner", "as many faxes as ever"])
def test_a_scanner_that_gets_the_faxes_is_not_failing(before, shares):
    for seed in range(6):
        cause = explain(faxes_by_scanner(seed, shares), before, "sharpness_p10")
        lines = " ".join(cause_lines(cause))
        assert not cause.carriers and "carries" not in lines and "on scanner" not in lines and cause.tags


def test_a_failing_scanner_is_named_beside_one_that_gets_the_faxes(before):
    named = [{c["value"] for c in explain(faxes_by_scanner(s, {"scanner-1": 0.9}, bad=3, failing=["scanner-2"]), before, "sharpness").carriers}
             for s in range(6)]
    assert named == [{"scanner-2"}] * 6


@pytest.mark.parametrize("failing", ["scanner-2", "scanner-3"])
def test_a_failing_scanner_is_named_while_faxes_become_more(before, failing):
    causes = [explain(batch(s, n=200, fax=0.4, bad=3, failing=(failing,)), before, "sharpness") for s in range(6)]
    assert [[c["value"] for c in cause.carriers] for cause in causes] == [[failing]] * 6
    assert not any("as good as before" in line for cause in causes for line in cause_lines(cause)), "not beside a scanner that is named"


def test_a_scanner_that_always_sends_faxes_and_sends_more_is_not_failing():
    usual = {"scanner-4": 0.5}
    past = pd.concat([faxes_by_scanner(900 + i, usual, n=100, name=f"b{i:02d}") for i in range(30)], ignore_index=True)
    assert not any(explain(faxes_by_scanner(s, {"scanner-4": 0.9}), past, "sharpness_p10").carriers for s in range(6))
    failing = explain(faxes_by_scanner(1, usual, bad=3, failing=["scanner-4"]), past, "sharpness")
    assert [c["value"] for c in failing.carriers] == ["scanner-4"]


def test_what_is_a_mixture_is_no_damage(before):
    cause = explain(faxes_by_scanner(2, {"scanner-1": 0.9, "scanner-2": 0.6}, n=400), before, "sharpness_p10")
    assert any(m["kind"] == "mix" for m in cause.mix) and (cause.carriers, cause.looks_like, cause.share) == ([], None, None)
    assert any("ore pages of form fax than usual" in line for line in cause_lines(cause))


def test_who_did_not_move_is_not_named_because_another_became_better(before):
    past, now = before.assign(brightness=before.brightness - 110), batch(5, n=200, day=0)
    now["brightness"] += np.where(now.tag_scanner == "scanner-2", -30, -110)
    assert not carriers(now, past, "brightness").named


def test_the_counts_are_those_of_the_batch_however_many_values():
    def branches(frame, seed): return frame.assign(tag_branch=[f"br{i:03d}" for i in np.random.default_rng(seed).integers(0, 200, len(frame))])
    past = pd.concat([branches(batch(100 + i, n=1000, name=f"b{i:02d}", day=0), i) for i in range(12)], ignore_index=True)
    now = branches(batch(1, n=1000, day=0), 99)
    hit = now.tag_branch == "br007"
    now.loc[hit, "sharpness"] -= 3
    now, past = (f.drop(columns=["tag_scanner", "tag_form"]) for f in (now, past))
    cause, at_least_two = explain(now, past, "sharpness_p10"), int((now.tag_branch.value_counts() >= 2).sum())
    assert len(cause.tags) < at_least_two == cause.tested
    assert f"({hit.sum()} of 1000 pages; p < 0.001 after looking at {at_least_two} values)" in " ".join(cause_lines(cause))


def test_pages_without_a_tag_or_a_number_are_told_apart(before):
    now = batch(12, bad=4, n=200)
    tagged = now.assign(tag_scanner=now.tag_scanner.where(now.index % 2 == 0))
    assert " of 100 pages with a scanner; " in " ".join(cause_lines(explain(tagged, before, "sharpness")))
    unmeasured = now.assign(sharpness=now.sharpness.where(now.index >= 20))
    assert " of 180 pages with numbers; " in " ".join(cause_lines(explain(unmeasured, before, "sharpness")))
    assert " of 200 pages; " in " ".join(cause_lines(explain(now, before, "sharpness")))


def test_numbers_as_tags_are_the_same_with_and_without_missing_ones(before):
    now, past = (f.assign(tag_branch=f.tag_scanner.str[-1].astype(int)).drop(columns="tag_scanner") for f in (batch(11, bad=4), before))
    holed = past.assign(tag_branch=past.tag_branch.where(past.index > 0))
    cause, whole = explain(now, holed, "sharpness"), explain(now, past, "sharpness")
    assert holed.tag_branch.dtype == float and cause_lines(cause) == cause_lines(whole)
    assert {t["state"] for t in cause.tags} == {""} and {d["tag_branch"] for d in cause.drivers} == {"2"}
    assert [v["value"] for m in cause.mix if m["tag"] == "branch" for v in m["values"]].count("2") == 1
    assert list(tag_texts(pd.Series([3.0, 2.5, None, "a"], dtype=object), "(none)")) == ["3", "2.5", "(none)", "a"]


def test_values_of_one_batch_alone_are_no_news(before):
    past = before.assign(tag_run=before.batch)
    assert cause_lines(explain(batch(21).assign(tag_run="now"), past, "sharpness")) == ["Nothing moved beyond chance."]
    assert not any("run" in line for line in cause_lines(explain(batch(12, bad=4).assign(tag_run="now"), past, "sharpness")))


def test_values_that_cover_the_same_pages_are_told_together(before):
    now, past = batch(11, bad=4), before
    now, past = (f.assign(tag_branch=f.tag_scanner.str[-1].astype(int)) for f in (now, past))
    first = carriers(now, past, "sharpness").named[0]
    assert {(first["tag"], str(first["value"])), *(tuple(s.split(" ", 1)) for s in first["same"])} == {("scanner", "scanner-2"), ("branch", "2")}


def test_the_unreadable_pages_of_one_scanner(before):
    now = batch(12)
    now.loc[now.index[now.tag_scanner == "scanner-2"][:20], "reason"] = "unreadable: truncated JPEG"
    cause = explain(now, before, "unreadable_share")
    assert cause.carriers[0]["value"] == "scanner-2" and {d["tag_scanner"] for d in cause.drivers} == {"scanner-2"}
    assert (cause.inside or cause.moves)[0]["metric"] == "unreadable_share"


PAGES = st.lists(st.tuples(st.integers(0, 4), st.floats(-5, 5)), min_size=1, max_size=30)


@settings(max_examples=50, deadline=None)
@given(PAGES, PAGES)
def test_contributions_add_up_to_the_move(now, past):
    (v, x), (u, y) = ((np.array([a for a, _ in r]), np.array([b for _, b in r])) for r in (now, past))
    parts = contributions(v, x, u, y)
    assert parts.within.sum() + parts.mix.sum() == pytest.approx(x.mean() - y.mean(), abs=1e-9)


# mixture or pages


@pytest.mark.parametrize("series", ["sharpness_mean", "sharpness_p10", "sharpness", "brisque_p90"])
@pytest.mark.parametrize("kind,fax,bad", [("mix", 0.6, 0), ("quality", 0.1, 3)])
def test_other_pages_or_worse_ones(before, series, kind, fax, bad):
    found = split_shift(batch(13, n=300, fax=fax, bad=bad, failing=SCANNERS, day=0), before, series, "form")
    assert found["kind"] == kind
    assert found["mix"] + found["quality"] + found["new"] == pytest.approx(found["total"])
    assert found["mix_low"] <= found["mix"] <= found["mix_high"]


def test_both_at_once(before):
    found = split_shift(batch(14, n=400, fax=0.5, bad=1.5, failing=SCANNERS, day=0), before, "sharpness_mean", "form")
    assert found["kind"] == "both"
    assert found["mix"] == pytest.approx(-0.4 * 0.9, abs=0.1) and found["quality"] == pytest.approx(-0.45, abs=0.12)


def test_more_faxes_in_words(before):
    lines = " ".join(cause_lines(explain(batch(15, n=300, fax=0.6, day=0), before, "sharpness")))
    assert "More pages of form fax than usual (6" in lines and "instead of 1" in lines and "as good as before" in lines
    assert "looks like" not in lines and "carries" not in lines


def test_pages_of_a_new_kind_are_a_part_of_their_own(before):
    now = batch(16, n=200, day=0)
    now.loc[:79, ["tag_form", "sharpness"]] = ["photo", 2.0]
    found = split_shift(now, before, "sharpness_mean", "form")
    assert found["new"] == pytest.approx(found["total"], rel=0.2) and found["total"] < -1


# share and pages


@pytest.mark.parametrize("share", [0, 0.05, 0.1, 0.2, 0.4, 1.0])
def test_share_of_pages(share):
    shares = []
    for i in range(60):
        rng = np.random.default_rng(i)
        past = [0.2 * rng.standard_normal() + rng.standard_normal(100) for _ in range(30)]
        now = 0.2 * rng.standard_normal() + rng.standard_normal(200) + 4 * (rng.random(200) < share)
        shares.append(affected_share(now, past))
    assert np.mean([s["low"] <= share + 0.03 for s in shares]) >= 0.9
    assert np.median([s["share"] for s in shares]) == pytest.approx(share, abs=0.04)


def test_pages_that_made_the_difference(before):
    now = batch(17, bad=6)
    chart = {"brisque": 120.0, "sharpness": 0.5, "tag_scanner": "scanner-2", "uri": "now/scanner-2/chart.jpg"}
    now.loc[0, list(chart)] = list(chart.values())
    past = before.copy()
    first = past.groupby("batch").head(1).index
    past.loc[first, "uri"] = past.loc[first, "batch"] + "/scanner-2/chart.jpg"
    past.loc[first, ["brisque", "sharpness"]] = [120.0, 0.5]
    now.loc[1, ["tag_scanner", "sharpness"]] = ["scanner-1", 0.4]
    cause = explain(now, past, "sharpness")
    uris = [d["uri"] for d in cause.drivers]
    assert worst_pages(now, "sharpness", 2).uri.str.contains("chart").any()
    assert len(uris) == 12 and not any("chart" in u for u in uris) and {d["tag_scanner"] for d in cause.drivers} == {"scanner-2"}
    assert all(0 < d["contribution"] <= 1 and d["why"] for d in cause.drivers)
    assert set(worst_pages(now, "sharpness").columns) <= set(driving_pages(now, past, "sharpness").columns)


def test_each_page_has_the_number_it_was_chosen_by(before):
    now = batch(17, bad=6)
    now["brisque"] -= 30 * (now.tag_scanner == "scanner-2")
    cause = explain(now, before, "brisque_p90")
    assert cause.focus == "sharpness" and {d["metric"] for d in cause.drivers} == {"sharpness"}
    assert all(d["value"] == d["sharpness"] for d in cause.drivers)
    now.loc[now.index[now.tag_scanner == "scanner-2"][:20], "reason"] = "unreadable: truncated JPEG"
    cause = explain(now, before, "unreadable_share")
    assert {(d["metric"], d["value"]) for d in cause.drivers} == {("unreadable_share", None)}


# words


def test_one_and_several_in_words(before):
    now = batch(10, n=200, bad=4, failing=("scanner-1", "scanner-2")).replace({"tag_scanner": {"scanner-2": "scanner-6", "scanner-1": "scanner-7"}})
    assert "; they are new." in " ".join(cause_lines(explain(now, before, "sharpness")))
    lines = cause_lines(explain(now.assign(**batch(10, n=200)[["brisque", "sharpness", "contrast"]]), before, "sharpness"))
    assert "scanner-6 and scanner-7 have not been seen before." in lines
    now, past = (f.rename(columns={"tag_scanner": "tag_branch"}) for f in (batch(14, n=300, bad=3, day=0), before))
    assert "The mix of branches is as usual: the same pages, worse." in cause_lines(explain(now, past, "sharpness"))


@pytest.mark.parametrize("word,words", [("branch", "branches"), ("box", "boxes"), ("bus", "buses"), ("factory", "factories"), ("tray", "trays"),
                                        ("scanner", "scanners")])
def test_plurals(word, words): assert _plural(word) == words


def test_no_scanner_or_form_stands_out(before):
    facts = explain(batch(8, n=200, bad=3, failing=SCANNERS), before, "sharpness").to_dict() | {"alike": [], "mix": []}
    assert "No form or scanner stands out." in cause_lines(facts)


def test_what_got_better_is_told_where_nothing_got_worse(before):
    past = before.assign(brightness=before.brightness - 110)
    line = cause_lines(explain(batch(21, day=0), past, "brightness"))[0]
    assert line.startswith("Nothing got worse beyond chance; brightness got better: 232 against 122 before (")


@pytest.mark.parametrize("p,words", [(0, "p < 0.001"), (9e-4, "p < 0.001"), (0.0123, "p = 0.012")])
def test_no_probability_is_zero(p, words): assert _p(p) == words


# poor input


@pytest.mark.parametrize("lacking", ["now", "before"])
@pytest.mark.parametrize("series,column", [("blank_share", "blank"), ("unreadable_share", "reason"), ("sharpness_p10", "sharpness")])
def test_a_column_that_is_not_there_is_said(before, lacking, series, column):
    now, past = (f.drop(columns=column) if lacking == name else f for name, f in (("now", batch(3)), ("before", before)))
    cause = explain(now, past, series)
    assert any(f"pages have no column {column}" in line for line in cause_lines(cause)) and not cause.tags
    with pytest.raises(MetricError, match=f"expected pages with the column {column}"): carriers(now, past, series)


POOR = {"five pages": batch(20, n=5), "one page": batch(20, n=1), "no tags": batch(20, bad=4).drop(columns=["tag_scanner", "tag_form"]),
        "no values": batch(20).assign(**{m: np.nan for m in ("brisque", "sharpness", "contrast", "brightness")}),
        "half missing": batch(20, bad=4).assign(sharpness=lambda f: f.sharpness.where(f.index % 2 == 0),
                                                         tag_scanner=lambda f: f.tag_scanner.where(f.index % 3 > 0)),
        "all unreadable": batch(20).assign(reason="empty file", sharpness=np.nan, brisque=np.nan),
        "another metric": batch(20).drop(columns="sharpness"),
        "constant": batch(20).assign(sharpness=6.0, brisque=25.0), "no pages": batch(20).iloc[:0]}


@pytest.mark.parametrize("now", POOR.values(), ids=POOR)
@pytest.mark.parametrize("history", ["all", "one batch", "none", "constant"])
@pytest.mark.parametrize("series", ["sharpness", "sharpness_p10", "unreadable_share"])
def test_poor_input_is_plain_data_and_words(before, now, history, series):
    past = {"all": before, "one batch": before[before.batch == "b00"], "none": before.iloc[:0],
            "constant": before.assign(sharpness=6.0, brisque=25.0)}[history]
    cause = explain(now, past, series)
    facts = json.loads(json.dumps(cause_facts(cause), allow_nan=False))
    assert len(facts["lines"]) <= LINES and all(isinstance(line, str) and "nan" not in line for line in facts["lines"])
    assert cause_lines(facts) == facts["lines"]
    if history == "one batch" and len(now): assert any("Only one earlier batch" in n for n in cause.notes)
    if history == "none": assert any("no clean batch" in n for n in cause.notes)


def test_unknown_metric(before):
    with pytest.raises(MetricError, match="expected one of"): explain(before, before, "brisk")


def test_a_calm_batch_is_told_calmly(before):
    cause = explain(batch(21), before, "sharpness")
    assert cause_lines(cause) == ["Nothing moved beyond chance."] and not cause.carriers and cause.share is None


def test_row_order_changes_nothing(before):
    now = batch(22, bad=4)
    a = explain(now, before, "sharpness")
    b = explain(now.sample(frac=1, random_state=1), before.sample(frac=1, random_state=2), "sharpness")
    assert cause_lines(a) == cause_lines(b) and [c["value"] for c in a.carriers] == [c["value"] for c in b.carriers]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), bad=st.floats(0, 8), n=st.integers(1, 150), scanners=st.integers(0, 5))
def test_whatever_comes_can_be_stored_and_told(before, seed, bad, n, scanners):
    cause = explain(batch(seed, n=n, bad=bad, failing=SCANNERS[:scanners]), before, "sharpness")
    json.dumps(cause_facts(cause), allow_nan=False)
    assert len(cause_lines(cause)) <= LINES
