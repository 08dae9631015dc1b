"Synthetic pages, damage, series and claims: same seed same data, truth that holds, bad arguments refused."
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_quality.core import MetricError
from ocr_quality.metrics import METRICS
from ocr_quality.sheet import page
from ocr_quality.synth import DEFECT_METRIC, DEGRADATIONS, degrade, rotate, series, series_matrix, share_shift, write_claims

KINDS = ("letter", "claim", "table")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dpi", (72, 100, 200))
def test_page_is_a4_and_its_text_is_on_it(kind, dpi):
    p = page(5, dpi, kind)
    assert p.gray.shape == (round(11.69 * dpi), round(8.27 * dpi)) and p.gray.dtype == np.uint8
    assert len(p.text.split()) > 50 and p.skew_deg == 0
    assert 0.06 < p.x_height_px / dpi < 0.1, "x-height of 10 point DejaVu Sans is 5.5 point"


@pytest.mark.parametrize("kind", KINDS)
def test_letter_heights_are_those_of_the_drawn_components(kind):
    import cv2

    p = page(1, 200, kind, grain=0)
    _, _, stats, _ = cv2.connectedComponentsWithStats(255 - cv2.threshold(p.gray, 140, 255, cv2.THRESH_BINARY)[1])
    heights = stats[1:, cv2.CC_STAT_HEIGHT]
    seen = np.median(heights[(heights > 6) & (heights < 40)])
    assert abs(seen - p.text_height_px) <= 2


def test_truth_is_drawn_where_ink_is():
    "Every written character leaves ink: removing the text changes the share of ink in proportion"
    few, many = page(0, 100, "claim"), page(0, 100, "letter")
    ink = [(p.gray < 140).mean() / len(p.text.replace(" ", "")) for p in (few, many)]
    assert 0.5 < ink[0] / ink[1] < 4


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("shape", ((300, 200), (201, 333), (40, 40)))
def test_degrade_any_shape(name, shape):
    gray = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    kept = gray.copy()
    out = degrade(gray, name, 0.7, seed=3)
    assert out.dtype == np.uint8 and out.ndim == 2 and out.flags.c_contiguous
    assert (out.shape == shape) == (name != "small")
    assert np.array_equal(gray, kept), "the page handed in stays as it was"
    assert np.array_equal(out, degrade(gray, name, 0.7, seed=3))
    assert np.array_equal(degrade(gray, name, 0), gray)


@given(name=st.sampled_from(sorted(DEGRADATIONS)), severity=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_degrade_never_fails_within_its_range(name, severity, seed):
    out = degrade(np.full((60, 50), 230, np.uint8), name, severity, seed)
    assert out.dtype == np.uint8 and out.size > 0


@pytest.mark.parametrize("severity", (-0.1, 1.1, float("nan")))
def test_severity_outside_is_refused(severity):
    with pytest.raises(ValueError, match="from 0 to 1"): degrade(np.zeros((9, 9), np.uint8), "blur", severity)


def test_every_defect_names_a_registered_metric():
    assert set(DEFECT_METRIC) == set(DEGRADATIONS) and set(DEFECT_METRIC.values()) <= set(METRICS)


def test_rotate_is_counter_clockwise():
    gray = np.full((201, 201), 240, np.uint8)
    gray[99:102, 20:181] = 10
    ys = [np.flatnonzero(rotate(gray, 5)[:, x] < 128).mean() for x in (40, 160)]
    assert ys[0] - ys[1] == pytest.approx(120 * np.tan(np.radians(5)), abs=1), "its right end rises"


@pytest.mark.parametrize("metric,sign", [("brisque", 1), ("noise", 1), ("skew_deg", 1), ("sharpness", -1), ("brisque_p90", 1),
                                         ("contrast_p10", -1), ("brightness", -1)])
def test_series_gets_worse_in_the_metrics_own_direction(metric, sign):
    frame, truth = series(60, "step", onset=30, size=6, metric=metric, seed=2)
    assert np.sign(frame.value[30:].mean() - frame.value[:30].mean()) == sign
    assert truth.onset == 30 and frame.time.dt.tz is not None


@pytest.mark.parametrize("kw,error", [({"n": 0}, ValueError), ({"missing": 1}, ValueError), ({"ar": 1}, ValueError), ({"fault": "flood"}, ValueError),
                                      ({"fault": "step", "onset": 90}, ValueError), ({"metric": "charm"}, MetricError),
                                      ({"df": 2}, ValueError), ({"pages": (9, 5)}, ValueError), ({"fault": "share", "share": 0.5}, ValueError)])
def test_series_refuses(kw, error):
    with pytest.raises(error): series(**kw)


def test_series_small_batches_scatter_more():
    few, many = (series(3000, pages=(n, n), seed=3)[0].value.std() for n in (50, 200))
    assert few / many == pytest.approx(2, rel=0.01)


def test_series_weekends_are_worse():
    frame, truth = series(700, weekday=3, seed=1)
    weekend = frame.time.dt.day_of_week >= 5
    assert (frame.value[weekend].mean() - frame.value[~weekend].mean()) / truth.sd == pytest.approx(3, abs=0.3)


def test_series_are_the_ones_they_always_were():
    "Numbers of the first release: tutorials and other tests rest on these seeds"
    frame, truth = series(60, "step", onset=30, size=6, seed=2, ar=0.3, missing=0.1, weekday=1, pages=(5, 500))
    assert frame.value[[0, 10, len(frame) - 1]].round(4).tolist() == [25.871, 24.7997, 34.1276] and frame.pages[:3].tolist() == [420, 59, 153]


@pytest.mark.parametrize("share", (0.05, 0.2, 0.4))
def test_share_shift_is_that_of_drawn_pages(share):
    "100,000 pages, a share of them as bad as can be: so much moves their median"
    pages = np.random.default_rng(0).standard_normal(100_000)
    pages[: int(share * len(pages))] = 1e9
    assert np.median(pages) == pytest.approx(share_shift(share), abs=0.02)


def test_a_share_moves_the_index_as_little_as_a_median_moves():
    "200 pages of which a fifth turn unreadable, drawn one by one, against the model"
    rng = np.random.default_rng(1)
    pages = rng.standard_normal((3000, 200))
    before = np.median(pages, 1)
    pages[:, :40] = 1e9
    frame, truth = series(100, "share", share=0.2)
    assert (np.median(pages, 1).mean() - before.mean()) / before.std() == pytest.approx(truth.size, rel=0.05)


@pytest.mark.parametrize("fault,size,before,after", [("step", 2, (0, 1), (2, 1)), ("variance", 3, (0, 1), (0, 3)), ("share", 9, (0, 1), (3.6, 1))])
@pytest.mark.parametrize("kw", ({}, {"df": 5}, {"ar": 0.4}), ids=str)
def test_matrix_has_the_moments_it_states(fault, size, before, after, kw):
    values, pages, days = series_matrix(4000, 40, fault, onset=20, size=size, seed=1, **kw)
    assert values.shape == (4000, 40) and pages is None and days[:4].tolist() == [3, 4, 5, 6]
    for part, (mean, sd) in ((values[:, :20], before), (values[:, 20:], after)):
        assert part.mean() == pytest.approx(mean, abs=0.04) and part.std() == pytest.approx(sd, rel=0.04)


def test_matrix_scatters_with_pages_and_follows_its_neighbours():
    values, pages, _ = series_matrix(500, 400, pages=(5, 500), log_pages=True, ar=0.3, missing=0.1, seed=2)
    assert (pages.min(), pages.max()) == (5, 500) and (pages < 50).mean() == pytest.approx(0.5, abs=0.01)
    few, many = values[(pages < 7)], values[(pages > 300)]
    assert np.nanstd(few) == pytest.approx(np.sqrt(200 / 5.5), rel=0.05) and np.nanstd(many) < 0.8
    assert np.isnan(values).mean() == pytest.approx(0.1, abs=0.01)
    a = values * np.sqrt(pages / 200)
    assert np.nanmean(a[:, 1:] * a[:, :-1]) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("fault", ("step", "ramp", "variance", "spike", "share"))
@pytest.mark.parametrize("metric", ("brisque", "sharpness"))
def test_matrix_is_series(fault, metric):
    kw = dict(fault=fault, onset=12, size=2, seed=8, ar=0.3, df=4, weekday=1, pages=(50, 500))
    frame, truth = series(30, metric=metric, **kw)
    values, pages, days = series_matrix(1, 30, **kw)
    if fault == "share": assert truth.size == pytest.approx(share_shift(0.2) * np.sqrt(200 * 2 / np.pi))
    else: assert truth.size == 2
    sign = 1 if metric == "brisque" else -1
    got = (frame.value.to_numpy() - truth.level) / truth.sd * sign
    weekday = days >= 5
    if sign < 0:  # The noise is the same number, to the other side
        quiet = series_matrix(1, 30, **kw | {"fault": None, "weekday": 0})[0][0]
        factor = np.where(truth.faulty, 2, 1) if fault == "variance" else 1
        got, values = got + quiet * factor, values - quiet * factor
    assert np.allclose(got, values[0]) and frame.pages.tolist() == pages[0].tolist() and (frame.time.dt.day_of_week >= 5).tolist() == weekday.tolist()


def _digests(folder):
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).rglob("*.jpg"))}


def test_claims_same_seed_same_files(tmp_path):
    kw = dict(days=4, pages_per_scanner=1, scanners=3, fault_day=2, repair_day=3)
    truth = write_claims(tmp_path / "a", seed=4, **kw)
    write_claims(tmp_path / "b", seed=4, **kw); write_claims(tmp_path / "c", seed=5, **kw)
    a, b, c = (_digests(tmp_path / x) for x in "abc")
    assert a == b and set(a.values()).isdisjoint(c.values())
    assert sorted(a) == sorted(truth.pages.path)
    bad = truth.pages[truth.pages.severity > 0]
    assert set(bad.date) == {truth.fault_day} and set(bad.scanner) == {truth.scanner} and truth.repair_day > truth.fault_day


def test_claims_without_a_fault(tmp_path):
    truth = write_claims(tmp_path, days=2, pages_per_scanner=1, scanners=1, fault_day=None)
    assert (truth.scanner, truth.fault, truth.fault_day) == (None, None, None) and (truth.pages.severity == 0).all()
    with pytest.raises(ValueError, match="blur, noise"): write_claims(tmp_path, fault="flood")
