"""Rolling windows: against a plain reference, and the properties every verdict must have."""
import math
import statistics
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_quality.core import MetricError, SettingsError, TimeError
from ocr_quality.judge.window import WindowRule, events, judge_window, judge_windows
from ocr_quality.metrics import metric_info, register_metric

register_metric("letter_height", "target", "px", (0, math.inf), target=(15, 60), meaning="A metric with a middle, for these tests.")

START = datetime(2026, 1, 1, tzinfo=UTC)


def series(values, hours=24.0, start=START, **columns):
    return pd.DataFrame({"time": [start + timedelta(hours=hours * i) for i in range(len(values))], "value": [float(v) for v in values]} | columns)


def verdicts(*args, **kw): return judge_window(*args, **kw)["verdict"].tolist()


def last(*args, **kw): return judge_window(*args, **kw)["verdict"].iloc[-1]


QUIET = [20, 21, 22, 21, 20, 21, 22, 21, 20, 21]


# The plainest reading of the rule, one batch at a time -----------------------------------------------------------------------------------------
def reference(rows, metric, rule):
    "Verdict, centre and history of each (time, value) of the sorted, unique `rows`, from the standard library alone"
    info, out, taught = metric_info(metric), [], []
    low, high = (rule.limit if isinstance(rule.limit, tuple) else (None, None))
    if rule.limit is not None and not isinstance(rule.limit, tuple):
        low, high = (rule.limit, None) if info.worse == "low" else (None, rule.limit)
    for i, (t, raw) in enumerate(rows):
        before = [(u, v) for u, v in (taught if rule.exclude_alarms else rows[:i]) if u < t and not math.isnan(v)]
        counted = isinstance(rule.window, int)
        seen = before[-rule.window:] if counted else [(u, v) for u, v in before if u >= t - timedelta(days=int(rule.window[:-1]))]
        past = sorted(abs(v) if info.direction == "size" else v for _, v in seen)
        x = abs(raw) if info.direction == "size" else raw
        centre = lower = upper = math.nan
        if len(past) >= rule.min_points:
            tiny = 1e-9 * max(map(abs, past))
            if rule.rule == "mean": centre, spread = statistics.fmean(past), rule.k * statistics.stdev(past)
            else: centre = statistics.median(past)
            if rule.rule == "median":
                off = [abs(v - centre) for v in past]
                mad = statistics.median(off)
                spread = rule.k * (1.4826 * mad if 1.4826 * mad > tiny else 1.2533 * statistics.fmean(off))
            if rule.rule == "quantile": lower, upper = np.quantile(past, [1 - rule.quantile, rule.quantile])
            else: lower, upper = centre - spread, centre + spread
            lower, upper = min(lower, centre - tiny), max(upper, centre + tiny)
            if info.direction == "target": lower, upper = min(lower, info.target[0]), max(upper, info.target[1])
        bad = (info.worse != "low" and x > upper) or (info.worse != "high" and x < lower)
        bad |= (low is not None and x < low and info.direction != "size") or (high is not None and x > high)
        verdict = "missing" if math.isnan(raw) else "fail" if bad else "learning" if math.isnan(centre) else "pass"
        out.append((verdict, centre, len(past)))
        if verdict in ("pass", "learning"): taught.append((t, raw))
    return out


times = st.lists(st.integers(0, 400), min_size=1, max_size=40)
values = st.integers(-30, 400).map(lambda v: v / 8)
windows = st.one_of(st.sampled_from(["2d", "7d", "30d"]), st.integers(4, 12))
rules = st.builds(WindowRule, window=windows, rule=st.sampled_from(["mean", "median", "quantile"]), k=st.sampled_from([1.0, 2.5, 3.0]),
                  quantile=st.sampled_from([.9, .99, 1.0]), min_points=st.integers(2, 4), exclude_alarms=st.booleans())


@st.composite
def inputs(draw, missing=True):
    "Rows a few hours apart, some at the same time, some far apart, some missing"
    at = draw(times)
    numbers = draw(st.lists(st.one_of(values, st.just(math.nan)) if missing else values, min_size=len(at), max_size=len(at)))
    return pd.DataFrame({"time": [START + timedelta(hours=6 * h) for h in at], "value": numbers})


@settings(deadline=None, max_examples=150)
@given(inputs(), rules, st.sampled_from(["brisque", "contrast", "brightness", "skew_deg", "pages"]), st.sampled_from([None, None, 35.0, 5.0]))
def test_equals_the_plain_reference(frame, rule, metric, limit):
    if limit is not None and metric_info(metric).direction != "target": rule = WindowRule(**vars(rule) | {"limit": limit})
    judged = judge_window(frame, metric, **vars(rule))
    rows = [(t.to_pydatetime(), v) for t, v in zip(judged["time"], judged["value"], strict=True)]
    for got, (verdict, centre, history) in zip(judged.itertuples(), reference(rows, metric, rule), strict=True):
        assert got.history == history
        assert got.centre == pytest.approx(centre, nan_ok=True)
        side = abs(got.value) if metric == "skew_deg" else got.value
        near = any(abs(side - o) <= 1e-9 * (1 + abs(side)) for o in (got.lower, got.upper) if not math.isnan(o))
        assert got.verdict == verdict or near


@settings(deadline=None, max_examples=60)
@given(inputs(), rules, st.randoms(use_true_random=False), st.sampled_from(["brisque", "brightness"]))
def test_shuffled_and_repeated_rows_give_the_same_verdicts(frame, rule, random, metric):
    order = [*range(len(frame)), *(random.randrange(len(frame)) for _ in range(5))]
    random.shuffle(order)
    pd.testing.assert_frame_equal(judge_window(frame, metric, **vars(rule)), judge_window(frame.iloc[order], metric, **vars(rule)))


@settings(deadline=None, max_examples=60)
@given(inputs(), rules, st.sampled_from([.25, 2., 1024.]), st.integers(-64, 64), st.sampled_from(["brisque", "contrast"]))
def test_another_unit_changes_no_verdict(frame, rule, factor, shift, metric):
    "Powers of two and whole shifts are exact in floating point up to the last bits of the spread"
    here = judge_window(frame, metric, **vars(rule))
    there = judge_window(frame.assign(value=frame["value"] * factor + shift), metric, **vars(rule))
    edge = np.fmin((here["value"] - here["upper"]).abs(), (here["value"] - here["lower"]).abs()) <= 1e-6
    if rule.exclude_alarms and edge.any(): return  # a verdict on the very edge would change what teaches the later ones
    assert (here["verdict"] == there["verdict"])[~edge].all()


@settings(deadline=None, max_examples=60)
@given(inputs(missing=False), rules, st.sampled_from(["brisque", "contrast", "skew_deg", "brightness"]), st.integers(1, 800),
       st.sampled_from([None, 20.]))
def test_a_better_value_never_turns_pass_into_fail(frame, rule, metric, step, limit):
    info = metric_info(metric)
    if limit and info.direction != "target": rule = WindowRule(**vars(rule) | {"limit": limit})
    newest = frame["time"].max() + timedelta(hours=6)
    def verdict(v): return last(pd.concat([frame, pd.DataFrame({"time": [newest], "value": [v]})]), metric, **vars(rule))
    value = frame["value"].iloc[-1]
    better = {"lower": value - step / 8, "higher": value + step / 8, "size": value * max(0, 1 - step / 800),
              "target": min(max(value, value + step / 8), 255) if value < 150 else value}[info.direction]
    if verdict(value) != "fail": assert verdict(better) != "fail"


@settings(deadline=None, max_examples=60)
@given(inputs(missing=False), rules, st.floats(-1e6, 1e6))
def test_the_judged_point_is_never_in_its_own_window(frame, rule, value):
    "Whatever the newest value is, the limits it is judged by stay the same"
    newest = frame["time"].max()
    frame = frame[frame["time"] < newest]
    limits = [judge_window(pd.concat([frame, pd.DataFrame({"time": [newest], "value": [v]})]), "brisque", **vars(rule))
              [["centre", "lower", "upper", "history"]].iloc[-1].to_numpy(float) for v in (0., value)]
    np.testing.assert_array_equal(*limits)


@settings(deadline=None, max_examples=60)
@given(inputs(), rules, st.sampled_from(["brisque", "contrast"]))
def test_later_batches_change_no_earlier_verdict(frame, rule, metric):
    cut = frame["time"].median()
    judged = judge_window(frame, metric, **vars(rule))
    pd.testing.assert_frame_equal(judged[judged["time"] <= cut], judge_window(frame[frame["time"] <= cut], metric, **vars(rule)))


# Tables of cases -------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("metric, value, expected", [
    ("brisque", 31, "fail"), ("brisque", 11, "pass"),  # rising BRISQUE alerts, falling never
    ("contrast", 11, "fail"), ("contrast", 31, "pass"),
    ("skew_deg", 31, "fail"), ("skew_deg", -31, "fail"), ("skew_deg", 0, "pass"),  # by size
    ("letter_height", 100, "fail"), ("letter_height", 5, "fail"),  # both sides, outside the target 15 to 60
    ("letter_height", 16, "pass"), ("letter_height", 59, "pass"),  # far outside the band, inside the target
    ("brisque_p90", 31, "fail"), ("sharpness_p10", 11, "fail"), ("brisque_beyond", 31, "fail"), ("unreadable_share", 31, "fail"),
])
@pytest.mark.parametrize("rule", ["mean", "median", "quantile"])
def test_the_direction_of_the_metric_decides(metric, value, expected, rule):
    assert last(series([*QUIET, value]), metric, rule=rule) == expected


def test_a_move_towards_the_target_is_no_fault():
    "Dark scans that get lighter, still below the target of 150 to 255"
    dark = [100 + i % 3 for i in range(12)]
    assert (last(series([*dark, 120]), "brightness"), last(series([*dark, 80]), "brightness")) == ("pass", "fail")


def test_skew_of_either_sign_teaches_its_size():
    judged = judge_window(series([.4, -.5, .6, -.4, .5, -.6, .5, -.55, .45, -2.5]), "skew_deg")
    row = judged.iloc[-1]
    assert row.verdict == "fail" and row.centre == pytest.approx(statistics.fmean([.4, .5, .6, .4, .5, .6, .5, .55, .45]))
    assert row.lower == -row.upper and "got 2.5" in row.reason


def test_a_metric_of_ones_own_is_judged_by_its_direction(monkeypatch):
    from ocr_quality import metrics
    monkeypatch.setattr(metrics, "METRICS", dict(metrics.METRICS))
    register_metric("stamps", "higher", "stamps")
    assert (last(series([*QUIET, 31]), "stamps"), last(series([*QUIET, 11]), "stamps")) == ("pass", "fail")


def test_limits_are_those_of_the_textbook():
    values = [Fraction(o) for o in QUIET]
    mean = sum(values) / 10
    sd = math.sqrt(sum((v - mean) ** 2 for v in values) / 9)
    row = judge_window(series([*QUIET, 21]), "brisque").iloc[-1]
    assert (row.centre, row.lower, row.upper, row.history) == pytest.approx((float(mean), float(mean) - 3 * sd, float(mean) + 3 * sd, 10))
    row = judge_window(series([*QUIET, 21]), "brisque", rule="median", k=2).iloc[-1]
    assert (row.centre, row.upper) == pytest.approx((21, 21 + 2 * 1.4826 * .5))  # deviations: five 0, five 1
    row = judge_window(series([*range(101), 0]), "brisque", 101, "quantile", quantile=.9, min_points=10).iloc[-1]
    assert (row.centre, row.lower, row.upper) == pytest.approx((50, 10, 90))


def test_three_sd_fire_in_a_window_of_seven():
    "With the judged point in its own window |z| could not exceed 6/sqrt(7) = 2.27"
    assert last(series([20, 21, 20, 21, 20, 21, 20, 40]), "brisque", 7) == "fail"


@pytest.mark.parametrize("window, hours, history", [
    ("7d", 24, 7), ("30d", 24, 20), ("12h", 6, 2), ("1w", 24, 7), (timedelta(days=3), 24, 3), (5, 24, 5), ("5", 24, 5), (50, 24, 20)])
def test_windows_are_half_open_in_time_or_counted(window, hours, history):
    "The batch exactly one window ago still teaches, the judged one does not"
    assert judge_window(series([20] * 21, hours), "brisque", window, min_points=2)["history"].iloc[-1] == history


def test_batches_of_the_same_instant_do_not_teach_each_other():
    same = pd.DataFrame({"time": [START + timedelta(days=10)] * 3, "value": [40., 41, 42], "batch": ["b", "c", "d"]})
    frame = pd.concat([series(QUIET, batch="a"), same])
    judged = judge_window(frame, "brisque")
    assert judged["history"].tolist()[-3:] == [10] * 3 and judged["verdict"].tolist()[-3:] == ["fail"] * 3


def test_a_gap_empties_a_window_of_time_and_not_a_counted_one():
    frame = pd.concat([series(QUIET), series([21], start=START + timedelta(days=60))])
    row = judge_window(frame, "brisque", "30d").iloc[-1]
    assert (row.verdict, row.history, row.reason) == ("learning", 0, "learning: 0 batches in 30d, 7 needed; got 21")
    assert last(frame, "brisque", 10) == "pass"


def test_what_counts_as_a_repeated_row():
    twice = pd.concat([series(QUIET, batch="a", point_id="x"), series(QUIET, batch="a", point_id="y")])
    assert len(judge_window(twice, "brisque")) == 10  # logged twice by a script: other ids, same batch
    two = pd.concat([series(QUIET, batch="a"), series(QUIET, batch="b")])
    assert len(judge_window(two, "brisque")) == 20  # two batches of the same day that happen to agree
    tagged = series(QUIET, tags=[{"scanner": "a"}] * 10)
    assert len(judge_window(pd.concat([tagged, tagged.assign(tags=[{"scanner": "b"}] * 10)]), "brisque")) == 20
    assert len(judge_window(pd.concat([tagged, tagged]), "brisque")) == 10


def test_instants_are_the_same_in_any_zone_and_form():
    frame = series([*QUIET, 31])
    time = frame["time"]
    objects = pd.Series([o.to_pydatetime() for o in time], dtype=object)
    first = judge_window(frame, "brisque")
    assert str(first["time"].dtype) == "datetime64[us, UTC]"
    for o in (time.dt.tz_convert("America/New_York"), [o.isoformat() for o in time], objects, time.dt.as_unit("ns")):
        pd.testing.assert_frame_equal(judge_window(frame.assign(time=o), "brisque"), first)


# Little or no variation, little or no history --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", ["mean", "median", "quantile"])
@pytest.mark.parametrize("level", [0.0, .1, 5, 1e9])
def test_a_constant_series_is_in_control(rule, level):
    judged = judge_window(series([level] * 30), "brisque", rule=rule)
    assert judged["verdict"].tolist() == ["learning"] * 7 + ["pass"] * 23
    rounding = judge_window(series([level] * 29 + [level * (1 + 1e-12)]), "brisque", rule=rule)
    assert rounding["verdict"].iloc[-1] == "pass"


@pytest.mark.parametrize("rule", ["mean", "median", "quantile"])
@pytest.mark.parametrize("value, expected", [(5.1, "fail"), (5, "pass"), (4, "pass")])
def test_after_no_variation_only_the_worse_side_fails_and_the_reason_says_so(rule, value, expected):
    row = judge_window(series([5] * 20 + [value]), "brisque", rule=rule).iloc[-1]
    assert row.verdict == expected and "limit 5 (no variation)" in row.reason


def test_a_share_that_is_mostly_zero_has_a_spread():
    "MAD is 0 here; the mean absolute deviation 3/20 takes its place, the limit is 3 × 1.2533 × 3/20 = 0.56"
    mostly = [0] * 17 + [1] * 3
    row = judge_window(series([*mostly, .5]), "unreadable_share", rule="median").iloc[-1]
    assert (row.verdict, row.upper) == ("pass", pytest.approx(3 * 1.2533 * 3 / 20))
    assert last(series([*mostly, .6]), "unreadable_share", rule="median") == "fail"


@pytest.mark.parametrize("points, expected", [(0, "learning"), (6, "learning"), (7, "pass")])
def test_a_short_history_says_so(points, expected):
    row = judge_window(series([20 + i % 2 for i in range(points)] + [20]), "brisque").iloc[-1]
    assert (row.verdict, row.history) == (expected, points)
    assert (f"{points} batch" in row.reason and "7 needed" in row.reason) == (expected == "learning")
    assert math.isnan(row.centre) == (expected == "learning")


def test_missing_values_have_a_row_and_teach_nobody():
    frame = series([*QUIET[:7], math.nan, math.nan, 21]).assign(reason=["", None] * 3 + ["", "every page unreadable", None, ""])
    judged = judge_window(frame, "brisque", limit=30)
    assert judged["verdict"].tolist() == ["learning"] * 7 + ["missing"] * 2 + ["pass"]
    assert judged["reason"].tolist()[7:9] == ["no value: every page unreadable", "no value"]
    assert judged["history"].tolist()[7:] == [7, 7, 7]
    nothing = judge_window(series([math.nan] * 9), "brisque", limit=1)
    assert set(nothing["verdict"]) == {"missing"} and set(nothing["history"]) == {0}


def test_missing_batches_are_not_counted_in_a_window_of_batches():
    assert judge_window(series([*QUIET, *[math.nan] * 20, 21]), "brisque", 10)["history"].iloc[-1] == 10


# Absolute limits -------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("metric, limit, value, expected", [
    ("brisque", 30, 30, "learning"), ("brisque", 30, 30.1, "fail"), ("contrast", .3, .2, "fail"), ("contrast", .3, .4, "learning"),
    ("skew_deg", 3, -4, "fail"), ("skew_deg", 3, -2, "learning"), ("brightness", 120, 110, "fail"), ("brightness", 120, 130, "learning"),
    ("letter_height", 80, 90, "fail"), ("letter_height", (12, 80), 11, "fail"), ("letter_height", [12, 80], 81, "fail"),
    ("brisque", (5, 40), 3, "fail"), ("brisque", (5, None), 3, "fail"), ("brisque", (None, 40), 41, "fail"), ("brisque", (5, 40), 20, "learning"),
    ("skew_deg", (-2, 5), -3, "fail"), ("skew_deg", (-2, 5), 1, "learning"),
])
def test_an_absolute_limit_holds_from_the_first_batch(metric, limit, value, expected):
    row = judge_window(series([value]), metric, limit=limit).iloc[-1]
    assert row.verdict == expected
    assert "(absolute)" in row.reason or isinstance(limit, tuple)


def test_an_absolute_limit_is_immune_to_a_level_that_worsens_slowly():
    slow = series([20 + i / 4 for i in range(80)])
    assert set(verdicts(slow, "brisque")[7:]) == {"pass"}
    judged = judge_window(slow, "brisque", limit=35)
    assert judged.loc[judged["value"] > 35, "verdict"].eq("fail").all() and "limit 35 (absolute)" in judged["reason"].iloc[-1]


def test_a_limit_alone_needs_no_history():
    judged = judge_window(series([.1, .3, math.nan, .2]), "unreadable_share", rule="limit", limit=.2)
    assert judged["verdict"].tolist() == ["pass", "fail", "missing", "pass"] and WindowRule(rule="limit", limit=.2).name == "limit 0.2"
    assert judged["reason"].iloc[1] == "limit 0.2 (absolute); got 0.3" and judged["centre"].isna().all()
    assert judge_window(series([.1]), "unreadable_share", 3, "limit", min_points=2, limit=.2)["verdict"].tolist() == ["pass"]


def test_a_generous_limit_does_not_loosen_the_band():
    row = judge_window(series([*QUIET, 31]), "brisque", limit=90).iloc[-1]
    assert row.verdict == "fail" and row.upper < 25 and "mean + 3 sd" in row.reason


@pytest.mark.parametrize("kwargs, expected", [
    (dict(window="30"), "count"), (dict(window="thirty"), "30d"), (dict(window=1), "at least 2 batches"), (dict(window=0), "at least 2"),
    (dict(window=5), "at most the 5 batches"), (dict(window=timedelta(0)), "positive"), (dict(window=True), "30d"), (dict(window=None), "30d"),
    (dict(rule="average"), "mean, median, quantile or limit"), (dict(rule="limit"), "a number where"),
    (dict(k=0), "positive"), (dict(k=math.nan), "positive"), (dict(k="3"), "positive"),
    (dict(quantile=.5), "above 0.5"), (dict(quantile=1.1), "above 0.5"), (dict(min_points=1), "from 2"), (dict(min_points=2.5), "from 2"),
    (dict(limit=math.inf), "finite"), (dict(limit="40"), "finite"), (dict(limit=(40, 5)), "lowest below highest"), (dict(limit=(1, 2, 3)), "lowest"),
])
def test_settings_that_make_no_sense_are_refused(kwargs, expected):
    if expected == "count":
        assert WindowRule(**kwargs).name == "30 batches mean ± 3 sd"  # digits, as a command line hands them over, are a number of batches
        return
    with pytest.raises(SettingsError, match=expected): WindowRule(**kwargs)
    with pytest.raises(SettingsError, match=expected): judge_window(series(QUIET), "brisque", **kwargs)


def test_one_limit_inside_a_target_range_is_ambiguous():
    with pytest.raises(SettingsError, match="outside the target range 15 to 60 of letter_height"):
        judge_window(series(QUIET), "letter_height", limit=20)


@pytest.mark.parametrize("frame, error, expected", [
    (series(QUIET).assign(time=pd.date_range("2026-01-01", periods=10)), TimeError, "tz_localize"),
    (series(QUIET).assign(time="2026-01-01"), TimeError, "zone"), (series(QUIET).assign(time=pd.NaT), TimeError, "time"),
    (series(QUIET).drop(columns="time"), MetricError, "no time"), (pd.DataFrame(), MetricError, "no time and no value"),
    (series([1, math.inf]), MetricError, "infinite"), (series(QUIET).assign(value="sharp"), MetricError, "sharp"),
    (series(QUIET).assign(value=True), MetricError, "truth values"),
])
def test_a_series_that_is_none_is_refused(frame, error, expected):
    with pytest.raises(error, match=expected): judge_window(frame, "brisque")


def test_an_unknown_metric_names_the_known_ones():
    with pytest.raises(MetricError, match="brisque, "): judge_window(series(QUIET), "blurriness")


# What is said ----------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kwargs, expected", [
    (dict(), "mean of 10 batches in 30d is 20.9; limit 23.11 (mean + 3 sd); got 31"),
    (dict(rule="median"), "median of 10 batches in 30d is 21; limit 23.22 (median + 3 MAD); got 31"),
    (dict(rule="quantile"), "median of 10 batches in 30d is 21; limit 22 (quantile 0.99); got 31"),
    (dict(window=8), "mean of the last 8 batches is 21; limit 23.27 (mean + 3 sd); got 31"),
    (dict(window=timedelta(hours=210)), "mean of 8 batches in 210h is 21; limit 23.27 (mean + 3 sd); got 31"),
    (dict(limit=22), "mean of 10 batches in 30d is 20.9; limit 22 (absolute); got 31"),
    (dict(metric="contrast"), "mean of 10 batches in 30d is 20.9; limit 18.69 (mean - 3 sd); got 31"),
    (dict(metric="letter_height"), "mean of 10 batches in 30d is 20.9; limits 15 (target range) and 60 (target range); got 31"),
    (dict(two_sided=True), "mean of 10 batches in 30d is 20.9; limits 18.69 (mean - 3 sd) and 23.11 (mean + 3 sd); got 31"),
])
def test_the_reason_names_rule_limit_and_history(kwargs, expected):
    kwargs = dict(kwargs)
    assert judge_window(series([*QUIET, 31]), kwargs.pop("metric", "brisque"), **kwargs)["reason"].iloc[-1] == expected


def test_the_limit_in_the_reason_is_the_limit_in_the_row_and_not_the_value():
    row = judge_window(series([*QUIET, 23.1138]), "brisque").iloc[-1]
    assert row.verdict == "fail" and "limit 23.11" in row.reason
    said = float(row.reason.split("limit ")[1].split(" ")[0])
    assert said == pytest.approx(row.upper, abs=1e-3) and said < float(row.reason.split("got ")[1])


def test_two_sided_fails_a_sudden_improvement_too():
    frame = series([*QUIET, 5])
    assert (last(frame, "brisque"), last(frame, "brisque", two_sided=True)) == ("pass", "fail")


@settings(deadline=None, max_examples=60)
@given(inputs(), rules, st.sampled_from(["brisque", "contrast", "brightness", "skew_deg"]))
def test_the_limits_of_a_row_explain_its_verdict(frame, rule, metric):
    "A row fails exactly if its value is beyond one of its limits on a worse side"
    judged, worse = judge_window(frame, metric, **vars(rule)), metric_info(metric).worse
    above, below = judged["value"] > judged["upper"], judged["value"] < judged["lower"]
    beyond = (above & (worse != "low")) | (below & (worse != "high" or metric == "skew_deg"))
    assert (beyond == (judged["verdict"] == "fail")).all()


def test_further_columns_and_the_callers_frame_are_kept():
    frame = series([*QUIET, 31], batch=[f"b{i}" for i in range(11)], pages=50)
    before = frame.copy()
    judged = judge_window(frame.iloc[::-1], "brisque")
    pd.testing.assert_frame_equal(frame, before)
    assert list(judged.columns) == "time value batch pages centre lower upper history verdict reason".split()
    assert judged["batch"].tolist() == before["batch"].tolist() and judged["history"].dtype == int
    pd.testing.assert_frame_equal(judge_window(judged.drop(columns="reason"), "brisque")[judged.columns], judged)


def test_an_empty_series_gives_an_empty_frame():
    judged = judge_window(series([]), "brisque")
    assert len(judged) == 0 and "verdict" in judged and len(events(judged)) == 0


# Alarms that do not teach, events, comparisons -------------------------------------------------------------------------------------------------
def test_excluded_alarms_keep_the_limit_where_it_was():
    frame = series([*QUIET, *[31, 32] * 5, 21])
    kept, taught = (judge_window(frame, "brisque", 10, exclude_alarms=o) for o in (True, False))
    assert kept["verdict"].tolist()[10:] == ["fail"] * 10 + ["pass"] and kept["upper"].iloc[10:].nunique() == 1
    assert taught["verdict"].tolist()[10:].count("fail") < 5


def test_excluded_alarms_learn_anew_when_the_window_has_run_empty():
    judged = judge_window(series([*QUIET, *[40, 41] * 20]), "brisque", "10d", min_points=4, exclude_alarms=True)
    assert set(judged["verdict"].iloc[10:16]) == {"fail"} and judged["verdict"].iloc[-1] == "pass" and judged["centre"].iloc[-1] > 40


def test_a_crossing_is_one_event_and_staying_adds_none():
    found = events(judge_window(series([*QUIET, 31, 35, math.nan, 32, 21, 21, 33]), "brisque", "30d", exclude_alarms=True))
    assert found.values.tolist() == [[START + timedelta(days=10), START + timedelta(days=13), 3, 35.0, False],
                                     [START + timedelta(days=16), START + timedelta(days=16), 1, 33.0, True]]


def test_the_worst_of_an_event_is_on_the_worse_side():
    found = events(judge_window(series([*QUIET, 11, 5, 9]), "contrast", exclude_alarms=True))
    assert found["worst"].tolist() == [5] and found["batches"].tolist() == [3]
    found = events(judge_window(series([*QUIET, -31, 40, -50]), "skew_deg", exclude_alarms=True))
    assert found["worst"].tolist() == [-50]


def test_an_event_of_an_absolute_limit_without_a_band():
    found = events(judge_window(series([20, 50, 60, 20]), "brisque", limit=40))
    assert found[["batches", "worst", "open"]].values.tolist() == [[2, 60, False]]


def test_rules_side_by_side():
    compared = [WindowRule("7d", min_points=5), WindowRule("30d"), WindowRule("30d", "median"), WindowRule(10, "quantile")]
    frame = series([*QUIET, 31])
    long = judge_windows(frame, "brisque", compared)
    assert long.groupby("rule", sort=False).size().to_dict() == {o.name: 11 for o in compared}
    for o in compared:
        one = long[long["rule"] == o.name].drop(columns="rule").reset_index(drop=True)
        pd.testing.assert_frame_equal(one, judge_window(frame, "brisque", **vars(o)))
    with pytest.raises(SettingsError, match="at least one"): judge_windows(series(QUIET), "brisque", [])


# Numbers known from elsewhere ------------------------------------------------------------------------------------------------------------------
def test_false_alarms_of_seven_batches_and_three_sd_are_those_of_students_t():
    "2 P(t[6] > 3/sqrt(8/7)) is one in 32 on two sides, hence one in 63 on the worse side; 20,000 batches leave an error of 6 %"
    from scipy.stats import t
    expected = t.sf(3 / math.sqrt(8 / 7), 6)
    assert 1 / (2 * expected) == pytest.approx(32, abs=1)
    noise = series(np.random.default_rng(0).normal(20, 2, 20_007))
    one, two = ((judge_window(noise, "brisque", 7, two_sided=o)["verdict"] == "fail").mean() for o in (False, True))
    assert one == pytest.approx(expected, rel=.2) and two == pytest.approx(2 * expected, rel=.15)
