"Features of a page's text: what leaves them alone, what moves each, and pages without text"
import cv2
import numpy as np
import pytest

from ocr_quality.images.ink import Ink
from ocr_quality.images.text import FEATURES, text_features
from ocr_quality.sheet import page
from ocr_quality.synth import degrade

SHEET = page(3, 130, "letter").gray[200:900]
RATIOS = "contrast swell swell_wide edge stroke gap density gap_depth stroke_depth euler touching specks size_spread otsu_place".split()


def features(gray):
    got = text_features(Ink(gray))
    return dict(zip(got.names, got.page))


CLEAN = features(SHEET)


def test_the_table_says_what_each_feature_is():
    got = text_features(Ink(SHEET))
    assert got.names == tuple(FEATURES) and got.page.shape == (len(FEATURES),) and got.page.dtype == np.float64
    assert got.tiles.shape == (*got.letters.shape, len(FEATURES))
    assert 0.9 < got.letters.sum() / len(Ink(SHEET).letters) < 1.3
    for unit, sign, meaning in FEATURES.values(): assert unit and meaning and sign in (-1, 0, 1)
    assert np.isfinite(got.page).all(), [n for n, v in zip(got.names, got.page) if not np.isfinite(v)]


def test_same_page_same_features():
    a, b = text_features(Ink(SHEET)), text_features(Ink(SHEET.copy()))
    assert np.array_equal(a.page, b.page, equal_nan=True) and np.array_equal(a.tiles, b.tiles, equal_nan=True)


@pytest.mark.parametrize("name", RATIOS)
def test_less_light_leaves_ratios(name):
    assert features((SHEET * 0.7).astype(np.uint8))[name] == pytest.approx(CLEAN[name], rel=0.05, abs=0.02)


@pytest.mark.parametrize("name", "contrast touching specks gap_depth stroke_depth euler size_spread otsu_place slope".split())
def test_more_pixels_leave_ratios(name):
    large = features(page(3, 260, "letter").gray[400:1800])
    small = features(page(3, 130, "letter").gray[200:900])
    assert large[name] == pytest.approx(small[name], rel=0.12, abs=0.06)


def test_lengths_follow_the_pixels():
    large = features(cv2.resize(SHEET, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    assert large["height"] == pytest.approx(2 * CLEAN["height"], rel=0.1) and large["body"] == pytest.approx(2 * CLEAN["body"], rel=0.1)
    assert large["stroke"] == pytest.approx(CLEAN["stroke"], rel=0.12) and large["edge"] == pytest.approx(CLEAN["edge"], rel=0.35)


def salt(gray, share):
    rng = np.random.default_rng(0)
    return np.where(rng.random(gray.shape) < share, rng.choice(np.array([0, 255], np.uint8), gray.shape), gray)


def bleed(gray): return np.minimum(gray, (243 - 0.3 * (243 - cv2.flip(np.roll(gray, 9, 0), 1).astype(float)))).astype(np.uint8)


def keystone(gray):
    h, w = gray.shape
    there = np.float32([[0.06 * w, 0.05 * h], [0.94 * w, 0.0], [w, h], [0, 0.9 * h]])
    return cv2.warpPerspective(gray, cv2.getPerspectiveTransform(np.float32([[0, 0], [w, 0], [w, h], [0, h]]), there), (w, h), borderValue=243)


MOVES = {  # What is done -> features that must move, and which way
    "blur": (lambda g: degrade(g, "blur", 0.3), "+edge +swell +edge_stroke -gap_depth -fineness"),
    "noise": (lambda g: degrade(g, "noise", 0.5), "+grain +stroke_grain +stroke_uneven"),
    "faded": (lambda g: degrade(g, "low_contrast", 0.7), "-contrast -contrast_p10 +grain"),
    "dark": (lambda g: degrade(g, "dark", 0.8), "-light"),
    "skew": (lambda g: degrade(g, "skew", 0.7), "+slope"),
    "shadow": (lambda g: degrade(g, "shadow", 0.9), "+shade +otsu_off +otsu_change"),
    "glare": (lambda g: degrade(g, "glare", 0.7), "+contrast_sd -contrast_p10 +white"),
    "jpeg": (lambda g: degrade(g, "jpeg", 0.97), "+grid +grain"),
    "small": (lambda g: degrade(g, "small", 0.3), "-height +edge -body"),
    "salt": (lambda g: salt(g, 0.02), "+tiny"),
    "bleed": (bleed, "+faint_edges"),
    "bold": (lambda g: cv2.erode(g, np.ones((3, 3))), "+stroke +touching -gap"),
    "thin": (lambda g: cv2.dilate(g, np.ones((2, 2))), "-stroke"),
    "keystone": (keystone, "+slope_spread"),
    "fax": (lambda g: np.where(g < 140, 0, 255).astype(np.uint8), "+two_levels"),
    "squeezed": (lambda g: cv2.resize(cv2.resize(g, None, fx=0.4, fy=1), g.shape[::-1]), "+edge_xy"),
}


@pytest.mark.parametrize("kind", MOVES)
def test_damage_moves_its_features(kind):
    damage, moved = MOVES[kind]
    got = features(damage(SHEET))
    for name in moved.split():
        change = (got[name[1:]] - CLEAN[name[1:]]) * (1 if name[0] == "+" else -1)
        assert change > 0.02 * abs(CLEAN[name[1:]]) + 1e-6, (name, CLEAN[name[1:]], got[name[1:]])


def waved(gray, high, long=260):
    "Lines that rise and fall by `high` px over `long` px"
    x, y = np.meshgrid(np.arange(gray.shape[1], dtype=np.float32), np.arange(gray.shape[0], dtype=np.float32))
    return cv2.remap(gray, x, y + np.float32(high) * np.sin(x * np.float32(2 * np.pi / long)), cv2.INTER_LINEAR, borderValue=243)


def test_lines_that_wave_bend_the_more_the_higher_the_waves():
    found = [features(waved(SHEET, high)) for high in (0, 4, 8, 14)]
    for name in ("slope_spread", "bend"):
        rising = [f[name] for f in found]
        assert rising == sorted(rising) and rising[-1] > 2 * rising[0], (name, rising)


def test_lines_that_are_merely_turned_do_not_bend():
    m = cv2.getRotationMatrix2D((SHEET.shape[1] / 2, SHEET.shape[0] / 2), 4, 1)
    turned = features(cv2.warpAffine(SHEET, m, SHEET.shape[::-1], flags=cv2.INTER_CUBIC, borderValue=243))
    assert turned["slope"] == pytest.approx(4, abs=0.3)
    assert turned["slope_spread"] < CLEAN["slope_spread"] + 0.5 and turned["bend"] < 0.25 * features(waved(SHEET, 14))["bend"]


def test_tiles_show_where():
    soft = SHEET.copy()
    soft[:, 537:] = cv2.GaussianBlur(soft, (0, 0), 2)[:, 537:]
    got = text_features(Ink(soft))
    edge = got.tiles[..., got.names.index("edge")]
    half = edge.shape[1] // 2
    assert np.nanmedian(edge[:, :half]) < 0.7 * np.nanmedian(edge[:, half + 1:])


def picture():
    y, x = np.mgrid[:300, :400]
    return (127 + 60 * np.sin(x / 17 + np.cos(y / 23) * 3) + 50 * np.cos(y / 11 + x / 40)).astype(np.uint8)


NO_TEXT = {
    "blank": np.full((300, 200), 243, np.uint8), "black": np.zeros((300, 200), np.uint8), "tiny": np.arange(64, dtype=np.uint8).reshape(8, 8) * 3,
    "pixel": np.zeros((1, 1), np.uint8), "line": (np.arange(5000) % 7 * 36).astype(np.uint8)[None],
    "column": (np.arange(5000) % 7 * 36).astype(np.uint8)[:, None],
    "noise": np.random.default_rng(0).integers(0, 256, (400, 300), dtype=np.uint8), "picture": picture(),
    "stripes": np.tile(np.repeat(np.uint8([0, 255]), 4), (300, 40)),
    "checks": np.kron(np.indices((40, 40)).sum(0) % 2, np.ones((6, 6))).astype(np.uint8) * 255,
    "two levels": np.where(np.random.default_rng(1).random((400, 300)) < 0.3, 0, 255).astype(np.uint8)}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_pages_without_text(kind):
    got = text_features(Ink(NO_TEXT[kind]))
    assert got.page.shape == (len(FEATURES),) and not np.isinf(got.page).any() and not np.isinf(got.tiles).any()
    if got.letters.sum() == 0: assert np.isnan(got.page).all() and np.isnan(got.tiles).all()
    if kind in ("blank", "black", "tiny", "pixel", "line", "column"): assert got.letters.sum() == 0


@pytest.mark.parametrize("kind", ["upside down", "sideways", "negative", "cropped"])
def test_pages_turned(kind):
    turned = {"upside down": SHEET[::-1, ::-1], "sideways": np.rot90(SHEET), "negative": 255 - SHEET, "cropped": SHEET[300:330, 90:400]}
    got = text_features(Ink(np.ascontiguousarray(turned[kind])))
    assert not np.isinf(got.page).any() and not np.isinf(got.tiles).any()
