"Families of damage: seeds, severities, sizes, order and what they refuse"
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocr_quality.damage import FAMILIES, GROUPS, STAGES, damage, damage_chain
from ocr_quality.sheet import page

FULL = page(3, 150, "letter")
SLOPE = np.uint8(np.add.outer(np.linspace(0, 120, 260), np.linspace(20, 120, 800)))  # Moving this by a pixel is seen as one level at most
TEXT, LETTER = np.ascontiguousarray(FULL.gray[300:560, 100:900]), FULL.x_height_px
GROWS, MOVES = ("skew", "warp"), ("skew", "keystone", "warp")  # What may add margins; what moves the text
SHRINKS = ("small", "fax")
each = pytest.mark.parametrize("name", FAMILIES)


def change(name, severity, seed=5):
    "Mean absolute difference from the clean text (from a slope where things move), the damaged page brought back to its size"
    clean = SLOPE if name in MOVES else TEXT
    out = damage(clean, name, severity, seed, LETTER)
    h, w = clean.shape
    if name in SHRINKS: out = cv2.resize(out, (w, h), interpolation=cv2.INTER_LINEAR)
    y, x = (out.shape[0] - h) // 2, (out.shape[1] - w) // 2
    return float(cv2.absdiff(np.ascontiguousarray(out[y : y + h, x : x + w]), clean).mean())


def test_families_are_in_physical_order_and_grouped():
    stages = [STAGES.index(f.stage) for f in FAMILIES.values()]
    assert stages == sorted(stages) and set(stages) == set(range(len(STAGES)))
    assert sorted(n for names in GROUPS.values() for n in names) == sorted(FAMILIES)
    assert all(f.name == n and n in GROUPS[f.group] and f.meaning for n, f in FAMILIES.items())


@each
def test_severity_0_is_an_unchanged_copy(name):
    out = damage(TEXT, name, 0, 3, LETTER)
    assert np.array_equal(out, TEXT) and not np.shares_memory(out, TEXT)


@each
def test_same_seed_same_damage_and_the_page_stays_as_it_was(name):
    before = TEXT.copy()
    a, b = (damage(TEXT, name, 0.6, 9, LETTER) for _ in range(2))
    assert np.array_equal(a, b) and np.array_equal(TEXT, before)
    assert a.dtype == np.uint8 and a.ndim == 2 and a.flags.c_contiguous


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"bold", "small"}))
def test_another_seed_is_another_damage(name):
    assert len({damage(TEXT, name, 0.6, seed, LETTER).tobytes() for seed in range(8)}) > 1


@each
def test_size(name):
    for severity in (0.05, 0.5, 1):
        shape = damage(TEXT, name, severity, 1, LETTER).shape
        if name in GROWS: assert all(np.array(shape) >= TEXT.shape)
        elif name in SHRINKS: assert all(np.array(shape) <= TEXT.shape)
        else: assert shape == TEXT.shape


@each
def test_more_severity_more_change(name):
    low, middle, high = (change(name, s) for s in (0.1, 0.5, 1.0))
    assert 0 < low < 1.15 * middle < 1.4 * high and low < high, (low, middle, high)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("seed", range(6))
def test_geometry_keeps_all_of_the_page(name, seed):
    sheet = np.full((300, 240), 240, np.uint8)
    for y in (2, 270):
        for x in (2, 210): sheet[y : y + 28, x : x + 28] = 20
    for severity in (0.3, 1):
        n, _, stats, _ = cv2.connectedComponentsWithStats(np.uint8(damage(sheet, name, severity, seed, 8) < 128))
        assert n - 1 == 4 and stats[1:, cv2.CC_STAT_AREA].sum() > (0.97 if name == "skew" else 0.05) * 4 * 28 * 28


@each
@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (1, 60), (60, 1), (3, 200)])
def test_tiny_pages(name, shape):
    sheet = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for severity in (0.01, 1): assert damage(sheet, name, severity, 2).dtype == np.uint8


@each
@pytest.mark.parametrize("letter", [0.01, 1, 400, 1e6])
def test_extreme_letters(name, letter):
    out = damage(TEXT[:64, :200], name, 0.8, 2, letter)
    assert out.dtype == np.uint8 and out.ndim == 2 and out.size and max(out.shape) < 1000


@each
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pages(name, level): assert damage(np.full((50, 70), level, np.uint8), name, 0.7, 1, 9).size


def test_chain_is_physical_whatever_the_order_given():
    mix = {"jpeg": 0.3, "defocus": 0.4, "faded": 0.2, "noise": 0.1, "small": 0.1, "overlay": 0.0}
    one, other = (damage_chain(TEXT, dict(items), 4, LETTER) for items in (mix.items(), reversed(mix.items())))
    assert np.array_equal(one, other)
    by_hand = damage(damage(TEXT, "faded", 0.4, 4, LETTER), "jpeg", 0.3, 4, LETTER)
    assert np.array_equal(damage_chain(TEXT, {"jpeg": 0.3, "faded": 0.4}, 4, LETTER), by_hand)


def test_nothing_to_do_is_a_copy():
    assert np.array_equal(damage_chain(TEXT, {}), TEXT) and damage_chain(TEXT, {}) is not TEXT


def test_letters_are_measured_anew_once_the_page_got_smaller():
    small = damage(TEXT, "small", 0.5, 1, LETTER)
    expected = damage(small, "jpeg", 0.5, 1, LETTER * small.shape[1] / TEXT.shape[1])
    assert np.array_equal(damage_chain(TEXT, {"jpeg": 0.5, "small": 0.5}, 1, LETTER), expected)


def test_letter_is_that_of_an_a4_page_unless_told():
    g = np.ascontiguousarray(FULL.gray[::4])
    assert np.array_equal(damage(g, "defocus", 0.5), damage(g, "defocus", 0.5, letter=max(g.shape) / 146))


@pytest.mark.parametrize("bad, says", [
    (dict(family="fog"), "expected a family of"), (dict(severity=1.01), "from 0 to 1"), (dict(severity=-0.1), "from 0 to 1"),
    (dict(severity=float("nan")), "from 0 to 1"), (dict(gray=TEXT.astype(np.float32)), "convert it to grey"),
    (dict(gray=np.dstack([TEXT] * 3)), "convert it to grey"), (dict(gray=np.zeros((0, 5), np.uint8)), "non-empty"), (dict(gray=[[1]]), "got list"),
    (dict(letter=0), "above 0"), (dict(letter=float("inf")), "above 0"), (dict(letter=-3), "above 0")])
def test_refuses(bad, says):
    with pytest.raises(ValueError, match=says): damage(**dict(gray=TEXT, family="noise", severity=0.5) | bad)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 70), st.integers(1, 70), st.dictionaries(st.sampled_from(list(FAMILIES)), st.floats(0, 1), max_size=4),
       st.integers(0, 2**32), st.none() | st.floats(0.1, 200))
def test_any_page_any_chain(h, w, severities, seed, letter):
    sheet = np.random.default_rng(seed).integers(0, 256, (h, w), dtype=np.uint8)
    out = damage_chain(sheet, severities, seed, letter)
    assert out.dtype == np.uint8 and out.ndim == 2 and out.size
    if not {n for n, s in severities.items() if s} & {*GROWS, *SHRINKS}: assert out.shape == sheet.shape
