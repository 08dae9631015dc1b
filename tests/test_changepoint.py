"""Change points: what is promised of them, over hundreds of simulated series; and against a plain reference."""
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ocr_quality.core import MetricError, SettingsError, TimeError
from ocr_quality.judge.changepoint import COLUMNS, _cuts, _largest_drop, changepoints
from ocr_quality.metrics import register_metric

register_metric("letter_height", "target", "px", (0, math.inf), target=(15, 60), meaning="A metric with a middle, for these tests.")


def frame(values, **columns):
    return pd.DataFrame({"time": pd.date_range("2026-01-01", periods=len(values), tz="UTC"), "value": np.asarray(values, float)} | columns)


def noise(rng, n, ar=0.0, df=None):
    "Standardised noise with correlation `ar`, normal or Student's t"
    e = rng.standard_normal(n + 30) if df is None else rng.standard_t(df, n + 30) / math.sqrt(df / (df - 2))
    for i in range(1, n + 30): e[i] = ar * e[i - 1] + math.sqrt(1 - ar**2) * e[i]
    return e[30:]


def steps(n, *changes): return np.array([sum(size for at, size in changes if i >= at) for i in range(n)])


# What is promised -------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind, most", [({}, 0.05), ({"df": 4}, 0.05), ({"ar": 0.3}, 0.075)], ids=["gaussian", "t4", "ar.3"])
def test_false_positives_are_as_rare_as_stated(kind, most):
    "Over 300 series without change, within what 5 % allows in all but one case of 500; short autocorrelated series have 6 to 7 %"
    rng = np.random.default_rng(13)
    seen = sum(len(changepoints(frame(noise(rng, 60, **kind)), "brisque")) > 0 for _ in range(300))
    assert binom.ppf(0.001, 300, 0.05) <= seen <= binom.ppf(0.999, 300, most)


@pytest.mark.parametrize("kind", ["skewed", "counts", "two values", "weekends", "sizes"])
def test_no_more_false_positives_on_awkward_series(kind):
    rng, n = np.random.default_rng(3), 50
    make = {"skewed": lambda: rng.exponential(size=n), "two values": lambda: rng.integers(0, 2, n), "counts": lambda: rng.binomial(50, 0.02, n) / 50,
            "weekends": lambda: noise(rng, n) + (np.arange(n) % 7 >= 5),
            "sizes": lambda: noise(rng, n) * np.sqrt(200 / np.exp(rng.uniform(np.log(5), np.log(500), n)))}[kind]
    assert sum(len(changepoints(frame(make()), "brisque")) > 0 for _ in range(120)) <= binom.ppf(0.999, 120, 0.05)


def test_the_stated_rate_is_the_rate():
    "One in five when one in five may; the same series show none at one in a thousand"
    rng = np.random.default_rng(4)
    all_series = [frame(noise(rng, 40)) for _ in range(200)]
    seen = sum(len(changepoints(o, "brisque", 0.2)) > 0 for o in all_series)
    assert binom.ppf(0.001, 200, 0.2) <= seen <= binom.ppf(0.999, 200, 0.2)
    assert sum(len(changepoints(o, "brisque", 0.001)) > 0 for o in all_series[:5]) == 0


@pytest.mark.parametrize("size,ar,detected,near", [(1, 0, 0.9, 0.55), (2, 0, 1, 0.9), (1, 0.3, 0.6, 0.5), (2, 0.3, 0.97, 0.8)])
def test_a_step_is_found_where_it_is(size, ar, detected, near):
    "120 batches, a step in the middle: share detected, share of these within 3 batches, share whose interval holds the truth"
    rng, errors, held, shifts, runs = np.random.default_rng(5), [], [], [], 100
    for _ in range(runs):
        made = frame(noise(rng, 120, ar) + steps(120, (60, size)))
        found = changepoints(made, "brisque")
        if not len(found): continue
        one = found.iloc[(found.time - made.time[60]).abs().argmin()]
        errors.append(abs((one.time - made.time[60]).days))
        held.append(one["first"] <= made.time[60] <= one["last"])
        shifts.append(one["shift"])
    assert len(errors) / runs >= detected and np.mean(np.array(errors) <= 3) >= near
    assert np.mean(held) >= 0.85, "an interval of 90 %"
    assert size - 0.1 <= np.median(shifts) <= size * 1.3, "those found are a little larger than those that are"


def test_p_value_is_that_of_the_strongest_drop_by_chance():
    rng = np.random.default_rng(6)
    found = [changepoints(frame(noise(rng, 40)), "brisque", 0.5) for _ in range(150)]
    smallest = np.array([o.p_value.min() if len(o) else 1.0 for o in found])
    assert (smallest > 0).all() and 0.1 <= np.mean(smallest <= 0.2) <= 0.3
    strong = changepoints(frame(noise(rng, 60) + steps(60, (30, 5))), "brisque")
    assert strong.p_value.tolist() == [1 / 500]


# Several changes, accidents -----------------------------------------------------------------------------------------------------------------------
def test_several_changes():
    rng = np.random.default_rng(7)
    made = frame(25 + 1.5 * (noise(rng, 200) + steps(200, (50, -3), (100, 5), (107, -5), (150, 3))))
    found = changepoints(made, "brisque")
    assert abs(np.array([made.time.searchsorted(o) for o in found.time]) - (50, 100, 107, 150)).max() <= 1
    assert found.worse.tolist() == [False, True, False, True]
    assert np.allclose(found["shift"], found.after - found.before) and np.allclose(found.before[1:], found.after[:-1])
    assert (found.batches_before[1:].to_numpy() == found.batches_after[:-1]).all()
    assert found.batches_before.sum() + found.batches_after.iloc[-1] == 200
    assert np.allclose(found.size_sd, found["shift"].abs() / 1.5, rtol=0.25)


@pytest.mark.parametrize("accidents", [[30], [30, 31], [30, 33], [0], [59], [10, 20, 30, 40, 50]])
def test_accidents_are_no_changes(accidents):
    values = noise(np.random.default_rng(8), 60)
    values[accidents] += 40
    assert len(changepoints(frame(values), "brisque")) == 0


def test_accidents_hide_no_change():
    values = noise(np.random.default_rng(9), 80) + steps(80, (40, 3))
    values[[10, 38, 60]] += (50, -50, 80)
    found = changepoints(frame(values), "brisque")
    assert len(found) == 1 and abs(found.batches_before[0] - 40) <= 1 and abs(found["shift"][0] - 3) < 0.7


@pytest.mark.parametrize("least", (3, 5, 10))
def test_levels_have_min_batches(least):
    for seed in range(20):
        found = changepoints(frame(noise(np.random.default_rng(seed), 60, 0.5)), "brisque", 0.5, min_batches=least)
        assert found.empty or min(found.batches_before.min(), found.batches_after.min()) >= least


# What comes in ------------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("values,state", [([], "learning"), ([1.0] * 9, "learning"), ([np.nan] * 50, "learning"), ([1.0] * 10, "no variation"),
                                          ([0.1 + 0.2, 0.3] * 20, "no variation"), ([0.0] * 40, "no variation"), ([1.0, 2] * 20, "searched")])
def test_states(values, state):
    found = changepoints(frame(values), "brisque")
    assert (found.empty, found.attrs["state"], list(found)) == (True, state, COLUMNS) and found.attrs["reason"]
    assert str(found.time.dtype) == "datetime64[us, UTC]" and found.worse.dtype == bool


def test_missing_values_and_days_keep_their_place():
    made = frame(noise(np.random.default_rng(10), 100) + steps(100, (60, 4)))
    made.loc[[3, 17, 18, 59, 80], "value"] = np.nan
    found = changepoints(made.drop(index=[30, 31, 70]), "brisque")
    assert (found.time.tolist(), found.batches_before.tolist(), found.batches_after.tolist()) == ([made.time[60]], [54], [38])


@pytest.mark.parametrize("before,after,metric,worse", [(20, 30, "brisque", True), (30, 20, "brisque", False), (0.7, 0.5, "contrast", False),
    (-1, 4, "skew_deg", True), (4, -1, "skew_deg", False), (30, 50, "letter_height", False), (50, 70, "letter_height", True),
    (10, 5, "letter_height", True), (5, 10, "letter_height", False)])
def test_worse_is_what_the_registry_says(before, after, metric, worse):
    if metric == "contrast": before, after, worse = after, before, False
    wobble = 0.01 * np.tile([0, 1, -1, 2, 0], 8)
    found = changepoints(frame(np.repeat([before, after], 20) + wobble), metric)
    assert found.worse.tolist() == [worse] and found.batches_before.tolist() == [20]


def test_skew_to_the_other_side_is_no_change():
    assert changepoints(frame(np.repeat([2.0, -2], 20) + 0.01 * np.sign(np.repeat([2.0, -2], 20)) * np.tile([0, 1, -1, 2, 0], 8)), "skew_deg").empty


def test_a_step_without_noise():
    found = changepoints(frame([0.0] * 12 + [1.0] * 8), "brisque")
    assert found[["batches_before", "shift", "size_sd"]].values.tolist() == [[12, 1, np.inf]]
    assert found["first"].tolist() == found["last"].tolist() == found.time.tolist()


def test_no_change_without_robust_reads_every_value():
    values = noise(np.random.default_rng(12), 60) + steps(60, (30, 3))
    values[[5, 50]] = (12, -9)
    soft, hard = (changepoints(frame(values), "brisque", robust=o) for o in (True, False))
    assert len(soft) == 1 and hard.empty or abs(hard["shift"][0] - (values[30:].mean() - values[:30].mean())) < 0.3


@pytest.mark.parametrize("kw,error", [({"false_positive": 0}, SettingsError), ({"false_positive": 0.6}, SettingsError),
    ({"false_positive": "5%"}, SettingsError),
    ({"false_positive": math.nan}, SettingsError), ({"min_batches": 1}, SettingsError), ({"min_batches": 2.5}, SettingsError),
    ({"min_batches": True}, SettingsError), ({"metric": "charm"}, MetricError)])
def test_refused(kw, error):
    with pytest.raises(error): changepoints(frame([1.0] * 20), **{"metric": "brisque"} | kw)


def test_naive_times_infinite_values_and_text_are_refused():
    with pytest.raises(TimeError, match="zone"): changepoints(frame([1.0] * 20).assign(time=pd.date_range("2026-01-01", periods=20)), "brisque")
    with pytest.raises(MetricError, match="infinite"): changepoints(frame([1.0] * 19 + [math.inf]), "brisque")
    with pytest.raises(MetricError): changepoints(frame([1.0] * 20).assign(value="sharp"), "brisque")


# What must not matter -----------------------------------------------------------------------------------------------------------------------------
SERIES = st.tuples(st.integers(0, 2**32 - 1), st.integers(10, 70), st.floats(-4, 4), st.sampled_from((0.0, 0.4)))


def drawn(seed, n, size, ar): return frame(np.round(noise(np.random.default_rng(seed), n, ar) + steps(n, (n // 2, size)), 3))


@given(SERIES, st.randoms())
@settings(max_examples=15, deadline=None)
def test_row_order_and_repeated_rows_do_not_matter(what, random):
    made = drawn(*what)
    order = random.sample(range(len(made)), len(made))
    pd.testing.assert_frame_equal(changepoints(made, "brisque"), changepoints(pd.concat([made.iloc[order], made[:5]]), "brisque"))


@given(SERIES, st.floats(0.001, 1000), st.floats(-1000, 1000))
@settings(max_examples=15, deadline=None)
def test_the_unit_does_not_matter(what, scale, shift):
    made = drawn(*what)
    a, b = changepoints(made, "brisque"), changepoints(made.assign(value=made.value * scale + shift), "brisque")
    same = ["time", "first", "last", "worse", "p_value", "batches_before", "batches_after"]
    pd.testing.assert_frame_equal(a[same], b[same])
    assert np.allclose(a.size_sd, b.size_sd) and np.allclose(a["shift"] * scale, b["shift"]) and np.allclose(a.after * scale + shift, b.after)


@given(SERIES)
@settings(max_examples=15, deadline=None)
def test_upside_down_the_other_side_is_worse(what):
    made = drawn(*what)
    a, b = changepoints(made, "brisque"), changepoints(made.assign(value=-made.value), "brisque")
    assert a.time.tolist() == b.time.tolist() and a.worse.tolist() == (~b.worse).tolist() and np.allclose(a["shift"], -b["shift"])


def test_it_is_deterministic_whatever_the_global_seed():
    made = drawn(1, 60, 1.2, 0.4)
    np.random.seed(1); a = changepoints(made, "brisque", 0.5)
    np.random.seed(2); pd.testing.assert_frame_equal(a, changepoints(made, "brisque", 0.5))


# Against a plain reference ------------------------------------------------------------------------------------------------------------------------
def squares(x): return float(((x - x.mean()) ** 2).sum())


def best(x, least, penalty):
    "Optimal levels by trying every last one: cost and first batches"
    ways = {0: (0.0, [])}
    for end in range(least, len(x) + 1):
        tried = [(c + squares(x[s:end]) + penalty * (s > 0), [*cuts, s] if s else []) for s, (c, cuts) in ways.items() if end - s >= least]
        if tried: ways[end] = min(tried, key=lambda o: o[0])
    return ways[len(x)]


@given(st.lists(st.integers(-8, 8), min_size=6, max_size=26), st.integers(2, 3), st.floats(0.05, 30))
@settings(max_examples=60, deadline=None)
def test_the_levels_are_the_best_there_are(values, least, penalty):
    x = np.array(values, float)
    cuts = _cuts(x, least, penalty)
    got = sum(squares(o) for o in np.split(x, cuts)) + penalty * len(cuts)
    assert got == pytest.approx(best(x, least, penalty)[0], abs=1e-6)
    assert all(len(o) >= least for o in np.split(x, cuts))


def test_many_levels_are_found_too():
    x = np.tile(np.r_[np.zeros(5), np.ones(5)], 12)
    assert _cuts(x, 5, 0.1) == list(range(5, 120, 5))


@pytest.mark.parametrize("least", (2, 4))
def test_largest_drop_against_every_pair(least):
    x = np.random.default_rng(0).standard_normal(24)
    cuts = [(i,) for i in range(least, 25 - least)] + [(i, j) for i in range(least, 25) for j in range(i + least, 25 - least)]
    drops = [(squares(x) - sum(squares(o) for o in np.split(x, c))) / len(c) for c in cuts]
    assert _largest_drop(x[None], least)[0] == pytest.approx(max(drops))
