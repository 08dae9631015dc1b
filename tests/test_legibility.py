"Legibility and gate: a stated result for whatever comes, the number's properties, the metrics, the command line"
import json
import math
from dataclasses import FrozenInstanceError

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ocr_quality.core import MissingValue, SettingsError
from ocr_quality.images.gate import gate, gate_cost, repaired
from ocr_quality.images.ink import Ink
from ocr_quality.images.legibility import Legibility, expected_cer, legibility, raw_prediction, shipped_predictor
from ocr_quality.images.quality import default_metrics, measure
from ocr_quality.sheet import page
from ocr_quality.synth import degrade, rotate

STATES = {"text", "no text", "blank", "too small"}


@pytest.fixture(scope="module")
def letter(): return page(seed=5, dpi=150, kind="letter").gray


def turned(gray, quarters): return np.ascontiguousarray(np.rot90(gray, quarters))


def stated(gray) -> Legibility:
    "The answer, after a look at whether it makes sense in itself"
    a = legibility(gray)
    assert a.state in STATES and (a.state == "text") == (a.expected_cer is not None) == (a.interval is not None)
    assert a.turn in (None, 0, 90, 180, 270) and a.tiles.ndim == 2 and len(a.reasons) <= 3
    if a.state == "text":
        low, high = a.interval
        assert 0 <= low <= a.expected_cer <= high <= 1 and a.legibility == pytest.approx(100 * (1 - a.expected_cer))
        assert np.isfinite(a.tiles).any() and all(r.text for r in a.reasons)
        assert np.nanmin(a.tiles) >= 0 and np.nanmax(a.tiles) <= 1
    else: assert a.legibility is None and not a.reasons and np.isnan(a.tiles).all()
    return a


def strokes(seed=0):
    "Long slanted curves, joined, of no one size: handwriting as far as print goes"
    rng, gray = np.random.default_rng(seed), np.full((900, 1200), 240, np.uint8)
    for y in range(100, 850, 90):
        x = np.arange(60, 1100, 3)
        wave = y + 18 * np.sin(x / rng.uniform(9, 14)) + 10 * np.sin(x / rng.uniform(20, 40)) + rng.normal(0, 1.5, len(x)).cumsum() * 0.3
        cv2.polylines(gray, [np.stack([x, wave], 1).astype(np.int32)], False, 60, 3, cv2.LINE_AA)
    return gray


ODD = {"white": (np.full((900, 700), 250, np.uint8), "blank"), "black": (np.zeros((900, 700), np.uint8), "blank"),
       "8x8": (np.full((8, 8), 128, np.uint8), "too small"), "1x1": (np.zeros((1, 1), np.uint8), "too small"),
       "flat floats": (np.full((300, 300), 99.5), "blank"), "a strip": (np.full((1, 4000), 200, np.uint8), "too small"),
       "static": (np.random.default_rng(0).integers(0, 256, (400, 400)).astype(np.uint8), None), "strokes": (strokes(), None),
       "ramp": (np.tile(np.linspace(0, 255, 600).astype(np.uint8), (400, 1)), None),
       "checks": (np.kron(np.indices((40, 40)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255, None)}


@pytest.mark.parametrize("name", ODD)
def test_whatever_comes_has_a_stated_result(name):
    gray, state = ODD[name]
    a = stated(gray)
    assert state in (None, a.state)
    d = gate(gray)
    assert d.action in ("pass", "repair", "rescan", "human") and d.reason
    if a.state != "text":
        assert d.action in ("human", "rescan")
        with pytest.raises(MissingValue, match="blank page|no text|too small"): expected_cer(gray)


def test_huge_pages(letter):
    assert stated(np.full((12000, 9000), 250, np.uint8)).state == "blank"
    big = stated(np.tile(letter, (5, 5)))
    assert big.state == "text" and big.expected_cer < 0.4


def test_photographs_and_receipts(shared):
    every = (f for folder in ("natural", "pages") for f in sorted((shared / folder).rglob("*")))
    files = [f for f in every if f.suffix.lower() in (".png", ".jpg", ".bmp")][::25]
    if not files: pytest.skip("no real images here")
    for f in files[:12]:
        gray = cv2.imread(str(f), cv2.IMREAD_GRAYSCALE)
        if gray is not None: stated(gray)


def test_upside_down_and_sideways_pages_are_found_or_unknown(letter):
    plain = stated(letter)
    assert plain.turn in (0, None) and plain.expected_cer < 0.15
    for quarters in (1, 2, 3):
        a = stated(turned(letter, quarters))
        assert a.turn == 90 * quarters
        assert a.expected_cer >= 0.9 and a.upright < 0.15 and a.reasons[0].name == "turned"
        assert gate(turned(letter, quarters), 0.15).repair == f"rotate {a.turn}"


def test_floats_and_bits_are_pages_like_any_other(letter):
    a = legibility(letter)
    assert legibility(letter.astype(np.float64)).expected_cer == pytest.approx(a.expected_cer, abs=1e-9)
    assert stated(np.where(letter > 128, 255.0, 0.0)).state == "text"


def test_more_blur_more_errors(letter):
    got = [expected_cer(degrade(letter, "blur", s, seed=1)) for s in (0, 0.3, 0.6, 1)]
    assert all(b >= a - 0.03 for a, b in zip(got, got[1:])) and got[-1] > got[0] + 0.2, got


def test_the_same_page_the_same_answer(letter):
    a, b = legibility(letter), legibility(Ink(letter.copy()))
    assert (a.expected_cer, a.interval, a.turn, a.reasons) == (b.expected_cer, b.interval, b.turn, b.reasons)
    assert np.array_equal(a.tiles, b.tiles, equal_nan=True)
    with pytest.raises(FrozenInstanceError): a.state = "other"


def test_tiles_tell_where(letter):
    half = letter.copy()
    half[:, letter.shape[1] // 2 :] = degrade(letter, "blur", 0.8, seed=1)[:, letter.shape[1] // 2 :]
    t = stated(half).tiles
    assert t.shape[0] > 2 and t.shape[1] > 2 and np.nanmean(t[:, : t.shape[1] // 3]) < np.nanmean(t[:, -(t.shape[1] // 3) :])


def test_measure_gives_both(letter):
    assert {"expected_cer", "legibility"} <= set(default_metrics())
    ink = Ink(letter)
    row = measure(ink, ["expected_cer", "legibility"])
    assert row["legibility"] == pytest.approx(100 * (1 - row["expected_cer"])) and legibility(ink).expected_cer == row["expected_cer"]
    row = measure(np.full((300, 300), 250, np.uint8), ["expected_cer", "legibility"])
    assert row["expected_cer"] is row["legibility"] is None and row["legibility_reason"] == "blank page"


def test_raw_prediction_is_what_the_map_takes(letter):
    p = shipped_predictor()
    assert float(p.isotonic.apply(np.array(raw_prediction(letter)))) == pytest.approx(expected_cer(letter), abs=1e-9)
    with pytest.raises(MissingValue): raw_prediction(np.full((300, 300), 250, np.uint8))


def test_gate(letter):
    assert gate(letter, 0.2).action == "pass"
    bad = degrade(letter, "blur", 1, seed=1)
    assert gate(bad, 0.02, 0.1).action == "rescan" and gate(bad, 0.0, 1.0).action in ("human", "repair")
    crooked = gate(rotate(letter, 8), 0.0, 0.9)
    assert crooked.action == "repair" and crooked.repair.startswith("deskew") and crooked.after.expected_cer < crooked.legibility.expected_cer
    assert gate(np.full((900, 700), 250, np.uint8), blank="pass").action == "pass"
    assert gate(np.zeros((900, 700), np.uint8)).action == "rescan"
    for wrong in ((0.5, 0.1), (-0.1, 0.5), (0.1, 1.1), (math.nan, 0.5)):
        with pytest.raises(SettingsError, match="pass_below"): gate(letter, *wrong)
    with pytest.raises(SettingsError, match="blank"): gate(letter, blank="rescan")


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_repairs_turn_back(letter, quarters): assert np.array_equal(repaired(turned(letter, quarters), f"rotate {90 * quarters}"), letter)


@pytest.mark.parametrize("angle", [-6, 3])
def test_deskewing_makes_lines_level(letter, angle):
    crooked = rotate(letter, angle)
    assert abs(Ink(repaired(crooked, f"deskew {Ink(crooked).angle:.1f}")).angle) < 0.3


def test_what_a_limit_costs():
    t = gate_cost([0.01, 0.2, 0.03, 0.9], [0.0, 0.05, 0.5, 1.0], (0.0, 0.05, 1.0))
    assert t.good_sent_back.tolist() == [1, 0.5, 0] and t.bad_let_through.tolist() == [0, 0.5, 1]
    assert math.isnan(gate_cost([0.1], [0.0]).bad_let_through[0])
    with pytest.raises(ValueError): gate_cost([0.1, math.nan], [0.1, 0.2])


def test_the_command_line(letter, tmp_path, home):
    from ocr_quality.cli import app
    pages = {"good": letter, "over": turned(letter, 2), "white": np.full((400, 400), 250, np.uint8)}
    for name, gray in pages.items(): cv2.imwrite(f"{tmp_path}/{name}.png", gray)
    (tmp_path / "broken.png").write_bytes(b"no image")
    def ask(*args): return CliRunner().invoke(app, ["gate", *map(str, args)])
    done = ask(tmp_path / "good.png", "--pass-below", 0.2)
    assert done.exit_code == 0 and done.output.startswith("pass") and len(done.output.splitlines()) == 1
    done = ask(tmp_path, "--json", "--pass-below", 0.2)
    rows = {r["page"].split("/")[-1]: r for r in json.loads(done.output)}
    assert done.exit_code == 1 and {k: r["action"] for k, r in rows.items()} == {
        "good.png": "pass", "over.png": "repair", "white.png": "human", "broken.png": "human"}
    assert rows["over.png"]["repair"] == "rotate 180" and rows["broken.png"]["reason"]
    assert ask(tmp_path / "good.png", tmp_path / "white.png", "--pass-below", 0.2, "--blank", "pass").exit_code == 0
    assert ask(tmp_path / "nowhere.png").exit_code == 2 and ask(tmp_path, "--pass-below", 0.6).exit_code == 2
