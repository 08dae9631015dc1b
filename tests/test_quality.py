"The metrics of a page on drawn pages with known truth, on degenerate arrays, and on the real files"
import math
import warnings

import cv2
import numpy as np
import pytest

from ocr_quality.core import MetricError, PageError
from ocr_quality.images.ink import Ink
from ocr_quality.images.quality import (
    METRIC_FUNCTIONS,
    blockiness,
    clipped,
    default_metrics,
    ink_coverage,
    load_plugins,
    measure,
    metric,
    noise,
    skew_deg,
    text_height_px,
)
from ocr_quality.metrics import METRICS, metric_info
from ocr_quality.sheet import page
from ocr_quality.synth import DEFECT_METRIC, DEGRADATIONS, degrade, rotate

BUILT_IN = ("brisque sharpness contrast brightness noise skew_deg text_height_px effective_dpi ink_coverage unevenness clipped "
            "blockiness blank").split()
OWN = [m for m in BUILT_IN if m != "brisque"]  # BRISQUE has tests of its own
TEXT = ["sharpness", "contrast", "skew_deg", "text_height_px", "effective_dpi"]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def letter(): return page(seed=5, dpi=150, kind="letter").gray


def scanned(seed, dpi=150):
    "A clean page of some kind, font and size, as a good scanner sees it"
    rng = np.random.default_rng(seed)
    gray = page(seed, dpi, ("claim", "letter", "table")[seed % 3], family=("Sans", "Serif")[seed % 2], point=9 + seed % 4,
                paper=int(rng.normal(238, 3)), ink=int(rng.normal(40, 5)), grain=0).gray
    gray = cv2.GaussianBlur(rotate(gray, rng.normal(0, 0.3)), (3, 3), rng.uniform(0.3, 0.5))
    light = 1 + 0.01 * rng.normal() * np.linspace(-1, 1, gray.shape[1])
    return np.clip(np.rint(gray * light + rng.uniform(1.2, 2.2) * rng.standard_normal(gray.shape)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def spread():
    "Standard deviation of each metric over clean pages; tiny ones are held up, so that no ratio is infinite"
    rows = [measure(scanned(seed), OWN) for seed in range(9)]
    return {m: max(float(np.std([r[m] for r in rows])), 1e-3) for m in OWN}


def valid(row, names):
    "Assert that `row` has a finite value in range, or None with a reason, for each of `names`, and nothing else"
    for m in names:
        if row[m] is None: assert isinstance(row[f"{m}_reason"], str) and row[f"{m}_reason"], m
        else:
            lo, hi = metric_info(m).range
            assert type(row[m]) is float and math.isfinite(row[m]) and lo <= row[m] <= hi, (m, row[m])
    assert set(row) == set(names) | {f"{m}_reason" for m in names if row[m] is None}
    return row


def badness(name, value):
    "The value turned so that more is worse, for a defect that makes it worse on its usual side"
    return {"lower": value, "higher": -value, "size": abs(value), "target": -value}[metric_info(name).direction]


def test_the_built_in_metrics_are_registered(): assert default_metrics()[:13] == BUILT_IN and set(BUILT_IN) <= set(METRICS)


@pytest.mark.parametrize("kind", ["claim", "letter", "table"])
@pytest.mark.parametrize("defect", DEGRADATIONS)
def test_monotone_in_its_own_defect(defect, kind):
    name, clean = DEFECT_METRIC[defect], page(seed=7, dpi=150 if defect == "small" else 100, kind=kind).gray
    got = [badness(name, measure(degrade(clean, defect, s, seed=2), [name])[name]) for s in (0, 0.25, 0.5, 0.75, 1)]
    scale = abs(got[-1] - got[0])
    slack = 0.15 if defect == "jpeg" else 0.01  # the grid's strength depends a little on how the paper's level falls between two steps
    assert scale > 0 and all(b >= a - slack * scale for a, b in zip(got, got[1:])), got
    assert got[4] > got[2] > got[0], got


@pytest.mark.parametrize("name", sorted(set(DEFECT_METRIC.values())))
def test_the_named_defect_moves_it_most(name, spread):
    pages = [scanned(seed) for seed in (3, 4)]
    def change(p, d): return abs(measure(degrade(p, d, 1, seed=1), [name])[name] - measure(p, [name])[name])
    moved = {d: np.mean([change(p, d) for p in pages]) / spread[name] for d in DEGRADATIONS}
    top = max(moved, key=moved.get)
    assert DEFECT_METRIC[top] == name, {d: round(float(v), 1) for d, v in moved.items()}
    assert min(v for d, v in moved.items() if DEFECT_METRIC[d] == name) > 2.5, moved


@pytest.mark.parametrize("defect", ["noise", "dark", "skew", "shadow", "glare", "jpeg", "black_border"])
def test_of_all_metrics_the_named_one_moves_most(defect, spread):
    clean = scanned(4)
    bad, good = (measure(g, OWN) for g in (degrade(clean, defect, 0.6, seed=1), clean))
    moved = {m: abs(bad[m] - good[m]) / spread[m] for m in OWN}
    assert max(moved, key=moved.get) == DEFECT_METRIC[defect], {m: round(v, 1) for m, v in moved.items()}


@pytest.mark.parametrize("defect", DEGRADATIONS)
def test_a_slight_defect_leaves_the_other_metrics_in_place(defect, letter):
    "A tenth of the severity moves no unrelated metric by a tenth of its value"
    related = {"blur": {"sharpness", "contrast", "noise"}, "noise": {"noise"}, "low_contrast": {"contrast", "ink_coverage"}, "dark": {"brightness"},
               "skew": {"skew_deg", "sharpness", "noise"}, "shadow": {"unevenness"}, "glare": {"clipped", "ink_coverage", "unevenness"},
               "jpeg": {"blockiness", "noise"},
               "small": {"text_height_px", "effective_dpi", "sharpness", "contrast", "noise"}, "black_border": {"clipped"}}[defect]
    bad, good = (measure(g, OWN) for g in (degrade(letter, defect, 0.1, seed=2), letter))
    floor = {"skew_deg": 1, "unevenness": 0.05, "clipped": 0.05, "blockiness": 0.1}
    for m in set(OWN) - related: assert abs(bad[m] - good[m]) <= 0.1 * max(abs(good[m]), floor.get(m, 0)) + 1e-9, (m, good[m], bad[m])


@pytest.mark.parametrize("kind", ["claim", "letter", "table"])
@pytest.mark.parametrize("angle", [-10, -6.3, -2, -0.3, 0, 0.15, 1, 4.7, 10])
def test_skew_within_a_fifth_of_a_degree(kind, angle):
    for dpi in (100, 150): assert skew_deg(rotate(page(1, dpi, kind).gray, angle)) == pytest.approx(angle, abs=0.1 if abs(angle) < 5 else 0.2)


@pytest.mark.parametrize("family", ["Sans", "Serif", "SansMono"])
@pytest.mark.parametrize("kind", ["claim", "letter", "table"])
@pytest.mark.parametrize("dpi", [75, 100, 150, 200, 300])
def test_text_height_within_a_tenth(kind, family, dpi):
    sheet = page(1, dpi, kind, family=family)
    assert text_height_px(sheet.gray) == pytest.approx(sheet.text_height_px, rel=0.1)


def test_a_thumbnail_is_less_sharp_and_has_the_same_ink(letter):
    h, w = letter.shape
    sizes = [cv2.resize(letter, (int(w * f), int(h * f)), interpolation=cv2.INTER_AREA) for f in (1, 0.5, 0.25)]
    a, b, c = (measure(g, ["sharpness", "ink_coverage"]) for g in sizes)
    assert a["sharpness"] > 1.4 * b["sharpness"] > 1.4 * c["sharpness"]
    assert [b["ink_coverage"], c["ink_coverage"]] == pytest.approx([a["ink_coverage"]] * 2, rel=0.1)


@pytest.mark.parametrize("sd", [1.5, 4, 10, 20])
def test_noise_is_the_standard_deviation_of_the_grain(sd):
    gray = page(2, 150, grain=0, paper=180, ink=60).gray + np.random.default_rng(0).normal(0, sd, (1754, 1240))
    assert noise(np.clip(gray, 0, 255)) == pytest.approx(sd, rel=0.06)


def test_clipped_is_the_share_of_a_black_border_and_of_glare(letter):
    framed = letter.copy()
    framed[:90], framed[:, -70:] = 6, 6
    share = 1 - (1 - 90 / framed.shape[0]) * (1 - 70 / framed.shape[1])
    assert clipped(framed) == pytest.approx(share, abs=0.005)
    assert clipped(letter) == 0 == clipped(np.where(letter > 200, 255, letter).astype(np.uint8))
    panel = letter.copy()
    panel[200:600, 200:900] = 255
    assert clipped(panel) == 0, "a white panel in a tinted form is no glare"


def test_the_grid_is_found_in_a_cropped_page_and_not_in_a_ruled_one(letter):
    jpeg = degrade(letter, "jpeg", 0.8)
    assert blockiness(jpeg[3:, 5:]) == pytest.approx(blockiness(jpeg), rel=0.2)
    ruled = letter.copy()
    ruled[:, ::8][:, 10:13] = 40
    assert blockiness(ruled) < 0.02 < 0.1 < blockiness(jpeg)


def test_bytes_and_floats_measure_alike(letter):
    a, b = measure(letter, OWN), measure(letter.astype(np.float32), OWN)
    assert a == b == measure(np.asfortranarray(letter), OWN) == measure(Ink(letter), OWN)


def test_what_has_no_direction_survives_a_quarter_turn(letter):
    names = ["brightness", "noise", "ink_coverage", "unevenness", "clipped", "blank"]
    a, b = measure(letter, names), measure(np.rot90(letter), names)
    assert [b[m] for m in names] == pytest.approx([a[m] for m in names], rel=0.03, abs=0.003)


def test_upside_down_is_the_same_page(letter):
    turned = rotate(letter, 2)
    a, b = measure(turned, OWN), measure(turned[::-1, ::-1], OWN)
    assert b["skew_deg"] == pytest.approx(a["skew_deg"], abs=0.05)
    for m in set(OWN) - {"skew_deg"}: assert b[m] == pytest.approx(a[m], rel=0.05, abs=0.004), m


def test_a_bilevel_page(letter):
    row = valid(measure(np.where(letter > 140, np.uint8(255), np.uint8(0)), OWN), OWN)
    assert [row["noise"], row["brightness"], row["unevenness"], row["clipped"]] == pytest.approx([0, 255, 0, 0], abs=1e-3)
    assert row["contrast"] == 1 and row["text_height_px"] == pytest.approx(text_height_px(letter), rel=0.05)
    assert measure(letter > 140, OWN) == row


RNG = np.random.default_rng(0)
STATES = {
    "white": np.full((300, 200), 255, np.uint8), "black": np.zeros((300, 200), np.uint8), "grey": np.full((500, 400), 128, np.uint8),
    "grainy paper": RNG.normal(235, 6, (600, 500)).clip(0, 255).astype(np.uint8), "tiny": RNG.integers(0, 256, (8, 8)).astype(np.uint8),
    "one pixel": np.full((1, 1), 90, np.uint8), "one row": RNG.integers(0, 256, (1, 500)).astype(np.uint8),
    "one column": np.full((700, 1), 200, np.uint8),
    "thin": np.where(np.arange(30_000) % 9 < 2, 0, 255).astype(np.uint8)[None].repeat(13, 0),
    "noise": RNG.integers(0, 256, (400, 300)).astype(np.uint8),
    "salt and pepper": RNG.choice(np.uint8([0, 255]), (300, 300)), "checks": (np.indices((257, 131)).sum(0) // 6 % 2 * 255).astype(np.uint8),
    "ramp": np.tile(np.arange(256, dtype=np.uint8), (200, 2))}


@pytest.mark.parametrize("state", STATES)
def test_degenerate_pages_have_values_or_reasons(state):
    row = valid(measure(STATES[state]), default_metrics())
    if state in ("white", "black", "grey", "grainy paper", "one pixel"):
        assert row["blank"] == 1 and {row[f"{m}_reason"] for m in TEXT} <= {"blank page", "too small"}
    if state in ("white", "black", "grey"): assert row["brisque_reason"] == "flat" and row["ink_coverage"] == 0
    if state in ("noise", "salt and pepper", "checks", "ramp"):
        assert row["blank"] == 0 and {row[f"{m}_reason"] for m in TEXT} == {"no text found"}, row


@pytest.mark.parametrize("bad, says", [
    (np.zeros((4, 4, 3), np.uint8), "convert it to grey"), (np.zeros((0, 5), np.uint8), "non-empty"), (np.zeros((40, 40), np.uint16), "scale it"),
    (np.full((40, 40), np.nan), "0-255"), (np.full((40, 40), 300.0), "0-255"), (np.full((40, 40), 0.7), "multiply by 255")])
def test_what_is_no_page_is_refused(bad, says):
    with pytest.raises(PageError, match=says): measure(bad)


def test_only_what_is_asked_for_is_computed(letter):
    ink = Ink(letter)
    measure(ink, ["brightness", "unevenness"])
    assert not {"runs", "_connected", "chain", "edges", "angle"} & set(vars(ink))
    measure(ink, ["noise"])
    assert not {"_connected", "edges"} & set(vars(ink))


@pytest.fixture
def registry():
    "Leaves the registry as it was"
    functions, entries = dict(METRIC_FUNCTIONS), dict(METRICS)
    yield
    for now, before in ((METRIC_FUNCTIONS, functions), (METRICS, entries)):
        now.clear()
        now.update(before)


def test_a_users_metric_flows_through(registry, letter):
    seen = []

    @metric("dark_share", "lower", "share", range=(0, 1), meaning="Share of dark pixels.")
    def dark_share(gray):
        seen.append(gray.flags.writeable)
        return np.mean(gray < 100)

    @metric("letters", "higher", "letters")
    def letters(ink): return len(ink.letters)

    assert default_metrics()[-2:] == ["dark_share", "letters"]
    row = measure(letter)
    assert 0.01 < row["dark_share"] < 0.2 and type(row["dark_share"]) is float and row["letters"] > 500 and seen == [False]
    assert metric_info("dark_share_p90").worse == "high"


@pytest.mark.parametrize("result, reason", [
    (lambda: 1 / 0, "failed: ZeroDivisionError: division by zero"), (lambda: float("nan"), "not finite: nan"), (lambda: np.inf, "not finite: inf"),
    (lambda: None, "not a number: NoneType"), (lambda: "high", "not a number: str"), (lambda: np.zeros(3), "not a number: ndarray")])
def test_a_users_metric_that_fails_is_missing_with_its_reason(registry, letter, result, reason):
    @metric("mine", "lower", "px")
    def mine(gray): return result()

    assert measure(letter, ["mine", "blank"]) == {"mine": None, "mine_reason": reason, "blank": 0.0}


@pytest.mark.parametrize("name", ["sharpness", "uri", "page", "reason", "tag_x", "x_reason", "2nd"])
def test_names_that_cannot_be_metrics(registry, name):
    with pytest.raises(MetricError):
        @metric(name, "lower", "px")
        def mine(gray): return 0


def test_unknown_metrics_are_named():
    with pytest.raises(MetricError, match="'brisk'.*register"): measure(STATES["white"], ["blank", "brisk"])


def test_plugins(registry, tmp_path, monkeypatch):
    file, module = tmp_path / "first.py", tmp_path / "second_plugin.py"
    text = "from ocr_quality.images.quality import metric\n@metric('{0}', 'lower', 'x')\ndef {0}(gray): return 3\n"
    file.write_text(text.format("first"))
    module.write_text(text.format("second"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_plugins(f"{file}, second_plugin") == ["first", "second"]
    assert measure(STATES["white"], ["first", "second"]) == {"first": 3.0, "second": 3.0}
    assert load_plugins(f"{file}, second_plugin") == [] == load_plugins("")
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(MetricError, match="broken.py.*ZeroDivisionError"): load_plugins(str(tmp_path / "broken.py"))
    monkeypatch.setenv("OCR_QUALITY_PLUGINS", "no_such_plugin")
    with pytest.raises(MetricError, match="no_such_plugin"): load_plugins()


def real(folder, n):
    "Grey pictures of up to `n` of the real files in `folder`, evenly picked"
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp"))
    for p in files[:: max(len(files) // n, 1)][:n]: yield p.name, cv2.imread(str(p), cv2.IMREAD_GRAYSCALE)


def test_photographs_have_no_text(shared):
    for name, gray in real(shared / "natural", 8):
        row = valid(measure(gray), default_metrics())
        assert row["blank"] == 0 and row["sharpness_reason"] == "no text found", name


@pytest.mark.parametrize("folder, n", [("pages", 14), ("forms", 16), ("receipts", 4)])
def test_real_pages_have_sensible_values(shared, folder, n):
    missing = 0
    for name, gray in real(shared / folder, n):
        row = valid(measure(gray, OWN), OWN)
        assert row["blank"] == 0 and 0 <= row["ink_coverage"] < 0.2 and row["noise"] < 10 and row["blockiness"] < 0.7, (name, row)
        if row["text_height_px"] is None: missing += 1
        else:
            assert 4 < row["text_height_px"] < 90 and 3 < row["sharpness"] < 40, (name, row)
            assert row["contrast"] > 0.15 and abs(row["skew_deg"] or 0) < 20, (name, row)
    assert missing <= 1


@pytest.mark.parametrize("folder", ["printed", "handwritten"])
def test_crops_of_single_lines_have_values_or_reasons(shared, folder):
    for _, gray in real(shared / folder, 40): valid(measure(gray, OWN), OWN)


def test_ink_of_a_blank_page_is_nothing(): assert ink_coverage(STATES["grainy paper"]) < 1e-4
