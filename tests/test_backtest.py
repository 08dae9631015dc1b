"Strategies on equal terms: the panel judges as the product does, rates are what they say, the command works on a real store"
import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from typer.testing import CliRunner

from ocr_quality import synth
from ocr_quality.cli import app
from ocr_quality.core import MetricError, OcrQualityError, SettingsError
from ocr_quality.judge.backtest import backtest
from ocr_quality.judge.chart import ChartRule
from ocr_quality.judge.panel import Panel, alarms, delays, incidents, learn, onsets
from ocr_quality.judge.process import FAULTS, Fault, Process, draw, like, parse_faults, synthetic
from ocr_quality.judge.strategy import at_rate, judge, parse_strategy, run_length, window_batches
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.html import outside_addresses
from ocr_quality.tell.plot_backtest import HOLLOW, backtest_page, plot_backtest, plot_replay, rates_table, summary

WORDS = ["chart", "chart normal", "7d", "14", "30d median k=2", "30d quantile q=0.9", "10d two-sided", "20 exclude k=2", "7d limit=29",
         "chart limit=29"]


def failing(panel, i, rule, baseline):
    "What the product fails of series `i` after the lead, as slots"
    judged = judge(panel.frame(i), panel.metric, rule, baseline)
    slots = np.searchsorted(panel.times, judged.time[judged.verdict == "fail"].dt.tz_localize(None).to_numpy("datetime64[us]"))
    return slots[slots >= panel.lead].tolist()


# The panel and the product

@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("kind", [{}, {"missing": 0.2, "weekday": 2.0}, {"pages": (5, 500), "log_pages": True, "ar": 0.4}, {"df": 3, "missing": 0.4}])
def test_panel_fails_what_the_product_fails(words, kind):
    values, pages, _ = synth.series_matrix(4, 220, "step", onset=150, size=1.5, seed=len(words), **kind)
    panel, rule = Panel(25 + 1.5 * values, 110, pages=pages), parse_strategy(words)
    usual = learn(panel, ChartRule("60d", zone="Asia/Tokyo") if words == "chart" else rule) if isinstance(rule, ChartRule) else [None] * 4
    fail = alarms(panel, rule, usual)
    assert fail.any(), "nothing fails, so nothing is compared"
    for i in range(4): assert np.flatnonzero(fail[i]).tolist() == failing(panel, i, rule, usual[i])


@pytest.mark.parametrize("metric, centre, sd", [("sharpness", 5, 0.2), ("brightness", 150, 20), ("skew_deg", 1, 0.3), ("text_height_px", 12, 2)])
def test_panel_knows_every_direction(metric, centre, sd):
    world = draw(Process(metric, centre, sd, share=None), 5, 200, seed=3)
    panel = world.panel(80, Fault("step", 3.0), onset=120)
    for words in ("chart", "30d"):
        rule = parse_strategy(words)
        usual = learn(panel, rule) if words == "chart" else [None] * 5
        fail = alarms(panel, rule, usual)
        assert fail[:, 120:].any()
        for i in range(5): assert np.flatnonzero(fail[i]).tolist() == failing(panel, i, rule, usual[i])


def test_the_onset_is_the_product_s():
    values, _, _ = synth.series_matrix(8, 200, "ramp", onset=120, size=3, ramp=30, seed=9, missing=0.1)
    panel = Panel(5 - 0.2 * values, 80, "sharpness")
    usual = learn(panel, ChartRule())
    at = np.array([row.argmax() if row.any() else -1 for row in alarms(panel, ChartRule(), usual)])
    assert (at >= 0).sum() >= 6
    for i, slot in enumerate(onsets(panel, usual, at)):
        if at[i] < 0:
            assert np.isnan(slot)
            continue
        judged = judge(panel.frame(i), "sharpness", ChartRule(), usual[i]).set_index("time")
        assert judged.onset[pd.Timestamp(panel.times[at[i]], tz="UTC")] == pd.Timestamp(panel.times[int(slot)], tz="UTC")


def test_a_series_that_never_varies_fails_only_by_its_limit():
    panel = Panel(np.full((2, 90), 30.0), 60)
    usual = learn(panel, ChartRule())
    assert not alarms(panel, ChartRule(), usual).any()
    assert alarms(panel, ChartRule(limit=20), usual)[:, 60:].all()


@given(st.lists(st.sampled_from("pf."), max_size=40))
def test_incidents_are_runs_parted_by_three_that_pass(story):
    fail, came = np.array([[c == "f" for c in story]], bool), np.array([[c != "." for c in story]], bool)
    text = "".join(c for c in story if c != ".")
    runs = [r for r in re.split("p{3,}", text) if "f" in r]
    assert incidents(fail, came).sum() == len(runs)


@given(st.lists(st.sampled_from("pf."), min_size=4, max_size=40), st.integers(0, 3))
def test_a_delay_counts_the_batches_that_came(story, onset):
    fail, came = np.array([[c == "f" for c in story]], bool), np.array([[c != "." for c in story]], bool)
    got = delays(fail, came, onset)[0]
    after = "".join(story[onset:]).replace(".", "")
    if "f" in story[:onset]: assert np.isnan(got)
    else: assert got == (after.index("f") + 1 if "f" in after else math.inf)


# Rates

@pytest.mark.parametrize("words, sides", [("7d", 1), ("14 k=2.5", 2), ("30d median k=2.5", 1), ("30d quantile q=0.9", 1), ("10 quantile q=1", 2)])
def test_the_run_length_is_the_one_that_is_counted(words, sides):
    rule = parse_strategy(words + " two-sided" * (sides == 2))
    w = window_batches(rule)
    panel = Panel(np.random.default_rng(5).normal(size=(60, w + 1500)), w)
    found, n = alarms(panel, rule).sum(), 60 * 1500
    rate = 1 / run_length(rule)
    assert abs(found - n * rate) < 5 * math.sqrt(2 * n * rate), (found, n * rate)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["7d", "14", "30d", "30d median", "60d two-sided"]), st.integers(25, 3000))
def test_at_rate_keeps_what_is_asked(words, every):
    got = run_length(at_rate(parse_strategy(words), every))
    assert every <= got * 1.0001 and got < every * 1.2


def test_a_rarer_promise_is_wider_and_two_sides_are_wider_than_one():
    widths = [at_rate(parse_strategy("30d"), every).k for every in (50, 365, 3650)]
    assert widths == sorted(widths) and len(set(widths)) == 3
    assert at_rate(parse_strategy("30d"), 365, "brightness").k == at_rate(parse_strategy("30d two-sided"), 365).k > widths[1]


def test_a_quantile_band_says_what_it_cannot_do():
    out = backtest(strategies=("30d quantile",), count=3, rates=(), faults=())
    wide = out.table.iloc[-1]
    assert (wide.stated, round(wide.nominal), wide.note) == (365, 31, "a quantile band of 30 batches cannot alarm less than once in 31")


NONSENSE = ["", "weekly", "7d mad", "chart 30", "0d", "1", "30d k=-1", "30d q=2", "2 min=7", "chart start=5", "limit=x", "14 k=nan", None, 7]


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_refused_in_one_sentence(text):
    with pytest.raises(SettingsError) as e: parse_strategy(text)
    assert "\n" not in str(e.value) and "expected" in str(e.value)


# Processes

@pytest.mark.parametrize("metric", ["brisque", "sharpness", "contrast", "brightness", "skew_deg", "brisque_p90"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda o: o.name)
def test_a_fault_goes_to_the_worse_side(metric, fault):
    world = draw(synthetic(metric), 3, 60, seed=1)
    if fault.kind == "share" and world.process.page_sd is None:
        with pytest.raises(SettingsError, match="scatter of its pages"): world.panel(20, fault, 30)
        return
    moved = (world.panel(20, fault, 30).values - world.panel(20).values) * world.process.worse
    assert np.abs(moved[:, :30]).max() == 0 and (np.abs(moved[:, 30:]).max() > 0)
    if fault.kind != "variance": assert moved.min() >= 0


def test_a_share_of_bad_pages_moves_the_median_as_pages_do():
    process = synthetic(pages=(50, 50))
    moved = draw(process, 2, 40).panel(20, Fault("share", 0.2), 25).values - draw(process, 2, 40).panel(20).values
    rng = np.random.default_rng(0)
    pages = rng.normal(25, process.page_sd, (4000, 50))
    bad = np.where(rng.random((4000, 50)) < 0.2, 1e3, pages)
    told = np.median(bad, axis=1).mean() - np.median(pages, axis=1).mean()
    assert moved[:, 25:].mean() == pytest.approx(told, rel=0.08)
    assert np.median(pages, axis=1).std() == pytest.approx(process.sd, rel=0.06)


def test_like_finds_what_made_the_history():
    frame, _ = synth.series(400, seed=3, ar=0.5, pages=(10, 300))
    twin = like(frame[frame.time.dt.day_of_week != 6], "brisque")
    assert 0.2 < twin.ar < 0.7 and twin.comes[6] == 0 and min(twin.comes[:6]) > 0.95 and twin.share > 0.3
    assert twin.page_sd == pytest.approx(1.5 * math.sqrt(200) / 1.2533, rel=0.6)
    again = draw(twin, 200, 300, seed=1).panel(60).values
    assert np.nanstd(again) == pytest.approx(frame.value.std(), rel=0.2)


def test_what_cannot_teach_a_process_is_refused():
    frame, _ = synth.series(60, seed=1)
    with pytest.raises(MetricError, match="20 to 120"): like(frame[:15], "brisque")
    with pytest.raises(MetricError, match="values that vary"): like(frame.assign(value=3.0), "brisque")
    with pytest.raises(MetricError, match="expected one of"): like(frame, "brisk")


@pytest.mark.parametrize("given_, told", [
    ({"pages": (500, 5)}, "pages of a batch"), ({"pages": (0, 5)}, "pages of a batch"), ({"df": 2}, "heavy tails, above 2, got 2"),
    ({"df": math.inf}, "heavy tails"), ({"ar": 1}, "correlation of neighbours, 0 <= ar < 1, got 1"), ({"missing": 1}, "share of missing batches"),
    ({"missing": math.nan}, "share of missing batches"),
    ({"weekday": math.nan}, "by which weekends are worse, got nan"), ({"weekday": math.inf}, "weekends")])
def test_numbers_that_make_no_process_are_named(given_, told):
    with pytest.raises(SettingsError, match=re.escape(told)) as e: synthetic(**given_)
    assert sum(words in str(e.value) for words in ("pages", "tails", "neighbours", "missing", "weekends")) == 1


def test_faults_in_words():
    assert parse_faults("step 0.5,step 1, STEP 2,ramp .05, ramp 0.1, variance 2, share 20 %, spike  6, step 1.0") == FAULTS


@pytest.mark.parametrize("text", ["", "step", "step 1,", "step -1", "step 0", "drift 1", "step 1%", "share 0.2", "share 60", "step nan", "step 1 sd"])
def test_nonsense_faults_are_refused_in_one_sentence(text):
    with pytest.raises(SettingsError, match="expected") as e: parse_faults(text)
    assert "\n" not in str(e.value)


# The whole

@pytest.fixture(scope="module")
def gaussian(): return backtest(strategies=("chart", "30d"), count=60, seed=4, rates=(200,), faults=FAULTS[:6], workers=2)


def test_the_promise_is_kept_and_the_shift_is_seen(gaussian):
    t = gaussian.table.set_index("strategy")
    chart, given_, equal = (t.loc[o] for o in ("chart, a false alarm in 365d", "30d mean ± 3 sd", "30d mean ± 3.06 sd"))
    assert 0.5 - 3 * chart.per_365_se < chart.per_365 < 1.25 + 3 * chart.per_365_se
    for row in (given_, equal): assert abs(row.per_365 - 365 / row.nominal) < 4 * row.per_365_se
    runs = gaussian.delays.query("fault == 'step 1 sd'").set_index("strategy").runs
    seen = round(chart["step 1 sd: within_30"] * runs.iloc[0])
    assert binom.cdf(seen, runs.iloc[0], 0.97) > 1e-3, f"{seen} of {runs.iloc[0]} seen where 97 % are promised"
    assert chart["step 1 sd: within_30"] > 2 * equal["step 1 sd: within_30"]
    assert chart["step 2 sd: median"] < chart["step 1 sd: median"] < chart["step 0.5 sd: median"]
    assert chart["step 1 sd: onset_error"] <= 4 < equal["step 1 sd: onset_error"]


def test_tables_agree_with_each_other(gaussian):
    table, delay = gaussian.table.set_index("strategy"), gaussian.delays
    assert len(delay) == len(table) * 6
    for r in delay.itertuples(): assert table.loc[r.strategy, f"{r.fault}: within_30"] == r.within_30 >= r.within_14 >= r.within_7
    assert set(gaussian.curve.strategy) == {"chart", "30d mean"} and (gaussian.curve.every.round() >= 200).all()


def test_the_same_seed_gives_the_same_and_another_another():
    def run(seed): return backtest(strategies=("14",), count=5, rates=(), faults=FAULTS[:2], seed=seed).table
    assert run(1).equals(run(1)) and not run(1).equals(run(2))


def test_the_replay_is_the_product_s_verdict():
    frame, truth = synth.series(140, "step", onset=110, size=2.0, seed=6)
    out = backtest(frame, ("chart", "7d"), count=2, rates=(), faults=())
    for row in out.replay.itertuples():
        judged = out.judged[row.strategy]
        assert row.failed == (judged.verdict == "fail").sum() and row.fails == judged.time[judged.verdict == "fail"].tolist()
    alone = judge(frame, "brisque", ChartRule())
    assert out.judged["chart, a false alarm in 365d"].verdict.equals(alone.verdict)
    assert out.replay.began[0][-1] >= truth.onset_time and out.replay.failed[0] > 10


def test_nothing_to_compare_is_an_error():
    for kw in ({"strategies": ()}, {"count": 1}, {"false_alarm_every": "3d"}, {"process": synthetic("sharpness")}, {"strategies": (3,)}):
        with pytest.raises(OcrQualityError): backtest(**{"count": 2, "rates": (), "faults": ()} | kw)


def test_pictures_and_pages_hold_without_anything_from_elsewhere(gaussian):
    assert len(plot_backtest(gaussian).axes) == 2
    page = backtest_page(gaussian, "<b>claims</b>")
    assert outside_addresses(page) == [] and "<b>claims" not in page and page.count("<table>") == 2
    assert page.count("<svg") == 2 and "after repair</b> share of the 30" in page and "later, or never" in page and HOLLOW not in page


def test_the_page_of_a_history_says_when_each_incident_began():
    frame, _ = synth.series(140, "step", onset=110, size=2.0, seed=6)
    out = backtest(frame, ("chart", "7d"), count=2, rates=(), faults=())
    page = backtest_page(out)
    assert out.replay.began.str.len().gt(0).any() and page.count("<svg") == 2, "the history for wide pages, and for narrow ones"
    for began in out.replay.began: assert all(f"{day:%Y-%m-%d}" in page for day in began[:6])
    below, above = plot_replay(out).axes
    assert [t.get_text() for t in below.texts] == out.replay.strategy.tolist() and above.get_xlim() == below.get_xlim()


def test_a_point_beyond_the_horizon_is_in_the_legend(gaussian):
    late = replace(gaussian, curve=gaussian.curve.assign(median=math.inf))
    assert HOLLOW in backtest_page(late) and HOLLOW in [t.get_text() for t in plot_backtest(late).legends[0].get_texts()]


def test_no_false_alarm_is_fewer_than_one_in_all_batches(gaussian):
    none = replace(gaussian, table=gaussian.table.assign(achieved=math.inf))
    assert set(rates_table(none).counted) == {">109,500"} and "&gt;109,500" in backtest_page(none)


def test_one_is_singular(gaussian):
    one = replace(gaussian, process=replace(gaussian.process, gap_s=3600.0, pages=np.array([1.0])))
    assert "1 page a batch, a batch every 1 hour;" in summary(one)


# The command

@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("OCR_QUALITY_HOME", str(tmp_path))
    frame, _ = synth.series(100, "step", onset=80, size=2.0, seed=2, pages=(20, 200))
    with MetricStore() as made:
        made.put_points({"point_id": f"{s}{i}", "model": "claims-ocr", "metric": s, "value": v, "time": r.time, "batch": r.batch}
                        for i, r in enumerate(frame.itertuples()) for s, v in (("brisque", r.value), ("pages", r.pages)))
    return tmp_path


def run(*args): return CliRunner().invoke(app, ["backtest", *map(str, args)])


def test_command_prints_tables_and_draws(store):
    done = run("claims-ocr", "brisque", "--strategies", "chart,7d,30d median", "--count", 3)
    assert done.exit_code == 0, done.output
    for words in ("chart, a false alarm in 730d", "7d mean ± 3 sd", "on the history itself", "20 % bad pages", "simulating curve of 7d mean"):
        assert words in done.output
    assert outside_addresses((store / "backtests/claims-ocr-brisque.html").read_text()) == []


@pytest.mark.parametrize("name, start", [("x.png", b"\x89PNG"), ("x.svg", b"<?xml"), ("x.html", b"<!doctype")])
def test_command_draws_what_is_asked(store, name, start):
    done = run("--synthetic", "--strategies", "7d,30d", "--count", 2, "--plot", store / name, "-q", "--pages", "5-500", "--missing", 0.1, "--ar", 0.2)
    assert (done.exit_code, done.output) == (0, f"picture: {store / name}\n")
    assert (store / name).read_bytes().startswith(start)


def test_command_prints_json_of_a_period(store):
    period = ("--until", "2026-02-20", "--false-alarm-every", 200)
    done = run("claims-ocr", "brisque", "--json", "--count", 2, "--no-curve", "--strategies", "14", *period)
    out = json.loads(done.stdout)
    assert (out["replay"][0]["batches"], out["false_alarm_every_batches"], out["curve"]) == (51, 200, [])
    assert [r["stated"] for r in out["table"]] == [None, 200]


@pytest.mark.parametrize("args, told", [
    (("claims", "brisque"), "it has none yet"), (("claims-ocr", "sharpness"), "log some batches"),
    (("claims-ocr", "brisk"), "expected one of the metrics"),
    (("claims-ocr", "brisque", "--strategies", "monthly"), "30d median"), (("claims-ocr", "brisque", "--strategies", ","), "at least one strategy"),
    (("claims-ocr", "brisque", "--since", "2026-04-01"), "20 batches or more"), ((), "--synthetic"), (("--synthetic", "--pages", "many"), "5-500"),
    (("--synthetic", "--ar", "1"), "0 <= ar < 1"), (("--synthetic", "--plot", "x.pdf"), ".html, .png or .svg"),
    (("--synthetic", "--false-alarm-every", "10d"), "a promise of fewer is none"),
    (("--synthetic", "--strategies", "7d", "--missing", "0.6"), "take a longer one"), (("--synthetic", "sharpness", "brisque"), "a metric at most"),
    (("--synthetic", "--pages", "500-5"), "pages of a batch"), (("--synthetic", "--faults", "step"), "'step 1, ramp 0.1"),
    (("claims-ocr", "brisque", "--since", "2026-03-01", "--until", "2026-02-01"), "after until")])
def test_command_says_in_one_line_what_is_wrong(store, args, told):
    done = run(*args, "--count", 2, "--no-curve", "-q")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and told in done.stderr, done.output


def test_synthetic_takes_a_metric_and_faults(store):
    done = run("--synthetic", "sharpness", "--json", "--count", 2, "--no-curve", "--strategies", "7d", "--faults", "step 1, spike 6")
    out = json.loads(done.stdout)
    assert out["metric"] == "sharpness" and {r["fault"] for r in out["delays"]} == {"step 1 sd", "spike 6 sd"}
    assert run("--synthetic", "--seed", -1).exit_code == 2


def test_tables_come_before_a_picture_that_cannot_be_written(store):
    (store / "file").write_text("no folder")
    done = run("--synthetic", "--strategies", "7d", "--count", 2, "--no-curve", "--plot", store / "file" / "x.html")
    assert done.exit_code == 2 and "after repair" in done.stdout and "picture:" not in done.stdout
    assert [line.startswith("simulating") for line in done.stderr.splitlines()] == [True, True, False], done.stderr


def test_help_says_what_the_columns_are():
    text = " ".join(run("--help").output.split())
    for column in ("counted", "one in 90", "alerts a fault", "after repair", "±"): assert column in text


@pytest.mark.parametrize("minutes", [0, 10])
def test_a_feed_in_bursts_is_simulated_at_its_own_pace(minutes):
    times = [pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(days=d, minutes=minutes * k) for d in range(60) for k in (0, 1)]
    history = pd.DataFrame({"time": times, "value": np.random.default_rng(0).normal(20, 1, 120), "batch": [f"b{i}" for i in range(120)]})
    got = backtest(history, ("chart",), count=3, rates=(), faults=())
    assert got.every == pytest.approx(730, rel=0.05) and got.process.comes == (1.0,) * 7
