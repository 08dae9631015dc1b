"The reading of single letters: always the same, nothing where there is nothing, less sure the worse the page, and the page's way up"
import json
import sys
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

from ocr_quality import synth
from ocr_quality.core import ModelError
from ocr_quality.images import glyphs
from ocr_quality.images.glyphs import GROUPS, Glyphs, load_glyphs, orientation, recognise
from ocr_quality.images.ink import Ink
from ocr_quality.images.letter_patches import MOST, SIDE, letter_boxes, patches
from ocr_quality.images.model_file import load_model, save_model

FIELDS = list(Glyphs.__dataclass_fields__)
RNG = np.random.default_rng(0)
ODD = {"tiny": np.full((8, 8), 200, np.uint8), "dot": np.zeros((1, 1), np.uint8), "blank": np.full((300, 200), 240, np.uint8),
       "black": np.zeros((300, 200), np.uint8), "line": np.full((1, 400), 255, np.uint8), "grain": RNG.integers(0, 256, (300, 400)).astype(np.uint8),
       "photo": cv2.GaussianBlur(RNG.integers(0, 256, (400, 300)).astype(np.uint8), (0, 0), 6) * 3}


@pytest.fixture(scope="module")
def page(): return synth.page(3, dpi=120, kind="letter").gray


@pytest.fixture(scope="module")
def clean(page): return recognise(Ink(page))


def test_same_page_same_answer(page, clean):
    for k, v in vars(recognise(Ink(page.copy()))).items(): np.testing.assert_array_equal(v, getattr(clean, k), k)


def test_arrays_are_of_one_length_and_in_range(clean):
    assert len(clean) == MOST
    assert {len(getattr(clean, k)) for k in FIELDS} == {len(clean)}
    for k in ("confidence", "margin", "entropy", "junk"): assert 0 <= getattr(clean, k).min() and getattr(clean, k).max() <= 1.0001, k
    for k, every in (("agreement", glyphs.CUT), ("stability", glyphs.EVERY)):
        v = getattr(clean, k)[::every]
        assert np.isnan(np.delete(getattr(clean, k), slice(None, None, every))).all()
        assert np.isfinite(v).all() and 0 <= v.min() and v.max() <= 1.0001, k
    assert clean.letter.max() < len(GROUPS)
    assert np.isfinite(clean.energy).all() and (clean.distance >= 0).all()


def test_clean_letters_are_read_surely_and_right():
    from PIL import Image, ImageDraw

    from ocr_quality.sheet import _font
    text = "the quick brown fox jumps over lazy dogs"
    image = Image.new("L", (1000, 200), 245)
    for y in (30, 90): ImageDraw.Draw(image).text((30, y), text, fill=20, font=_font("Sans", 36))
    found = recognise(Ink(np.asarray(image)))
    read = {GROUPS[k][0] for k in found.letter}
    assert found.confidence.mean() > 0.9
    assert len(read & set("thequckbrownfxmpsvlazydg")) >= 20


@pytest.mark.parametrize("name, much", [("blur", 0.05), ("noise", 0.01), ("small", 0.05)])
def test_damage_makes_it_less_sure(page, clean, name, much):
    worse = recognise(Ink(synth.degrade(page, name, 0.45)))
    assert len(worse) and worse.confidence.mean() < clean.confidence.mean() - much


def test_letters_that_one_threshold_swallows_agree_with_none(page):
    dim = page.astype(float)
    dim[:, page.shape[1] // 2 :] *= 0.3
    found = recognise(Ink(dim.astype(np.uint8)), threshold=150)
    right = found.box[:, 0] > page.shape[1] / 2
    read = np.isfinite(found.agreement) & (found.letter != GROUPS.index("iIl1|!/"))  # A stroke is what a block of ink looks like
    assert found.agreement[read & right].mean() < 0.3 and found.agreement[read & ~right].mean() > 0.9
    assert abs(found.confidence[right].mean() - found.confidence[~right].mean()) < 0.1  # The light alone takes nothing from a letter read in grey


def test_worn_type_is_the_same_letter_printed_otherwise(page, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parent.parent / "tools"), *sys.path])
    from glyphs import worn
    _, boxes, _ = letter_boxes(Ink(page), 100)
    sound = patches(Ink(page), boxes)

    def print_of(seed): return np.stack([worn(np.random.default_rng((seed, i)), p) for i, p in enumerate(sound)])
    one, other = print_of(1), print_of(2)
    assert one.shape == sound.shape and one.dtype == np.float32 and np.isfinite(one).all() and np.array_equal(one, print_of(1))
    assert np.abs(one - sound).mean() > 0.02 and np.abs(one - other).mean() > 0.02
    read, worn_read = (glyphs.classify(x)[0].argmax(1) for x in (sound, one))
    assert (read == worn_read).mean() > 0.8


@pytest.mark.parametrize("n, many, wide", [(0, 4, 8), (1, 16, 12), (130, 192, 32), (7, 128, 51), (3, 5, 3)])
@pytest.mark.parametrize("positive", [True, False])
def test_a_layer_is_a_product_of_matrices(n, many, wide, positive):
    rng = np.random.default_rng(n + wide)
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, many), (wide, many), wide))
    np.testing.assert_allclose(glyphs._layer(x, w, b, positive), np.maximum(x @ w.T + b, 0 if positive else -np.inf), atol=1e-4)


@pytest.mark.parametrize("name", ODD)
def test_odd_pages(name):
    ink = Ink(ODD[name])
    found, (turn, sure) = recognise(ink), orientation(ink)
    assert turn is None and 0 <= sure <= 1
    assert {len(getattr(found, k)) for k in FIELDS} == {len(found)}
    if name not in ("grain", "photo"): assert len(found) == 0


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("kind", ["letter", "table"])
def test_way_up(kind, turn):
    got, sure = orientation(Ink(np.rot90(synth.page(5, dpi=110, kind=kind).gray, turn // 90)))
    assert got == turn and sure >= glyphs.SURE


def test_few_marks_say_nothing_of_the_way_up(page):
    some = np.full((60, 400), 240, np.uint8)
    some[20:40, 30:36] = 20
    assert orientation(Ink(some)) == (None, 0.0)


def test_sample_is_even_over_the_page(page):
    ink = Ink(page)
    mark, box, cut = letter_boxes(ink, 50)
    assert len(mark) == len(box) == len(cut) == 50
    assert np.diff(ink.marks[mark, 1]).min() >= 0
    all_y = ink.letters[:, 1]
    assert abs(np.median(box[:, 1]) - np.median(all_y)) < 0.1 * np.ptp(all_y)


def test_patches_know_neither_shadow_nor_contrast(page):
    _, box, _ = letter_boxes(Ink(page), 40)
    pale = (0.5 * page + 100).astype(np.uint8)
    a, b = patches(Ink(page), box), patches(Ink(pale), box)
    assert a.shape == (40, SIDE, SIDE) and np.abs(a - b).mean() < 0.05


@pytest.mark.parametrize("harm, said", [("cut", "damaged or foreign"), ("text", "damaged or foreign"), ("empty", "damaged or foreign"),
                                        ("number", "checksum"), ("other", glyphs.GLYPH_MODEL)])
def test_damaged_and_foreign_weights_are_refused(tmp_path, harm, said):
    good = files("ocr_quality") / "images/data/glyphs.npz"
    path = tmp_path / "glyphs.npz"
    data = good.read_bytes()
    if harm == "cut": path.write_bytes(data[: len(data) // 2])
    if harm == "text": path.write_text("no weights")
    if harm == "empty": path.write_bytes(b"")
    if harm in ("number", "other"):
        with np.load(good) as f: model = dict(f)
        model["bias4"][0] += 1
    if harm == "number": np.savez(path, **model)
    if harm == "other":
        arrays, text = load_model(good, glyphs.FORMAT, "recipe")
        save_model(path, glyphs.FORMAT, arrays | {"bias4": model["bias4"]}, recipe=text["recipe"])
    with pytest.raises(ModelError, match=said) as e: load_glyphs(path)
    assert "\n" not in str(e.value) and "install ocr_quality again" in str(e.value)


def test_weights_are_small_and_tell_their_recipe():
    good = files("ocr_quality") / "images/data/glyphs.npz"
    assert len(good.read_bytes()) < 250_000
    recipe = json.loads(load_glyphs(good)["recipe"])
    assert recipe["tool"] == "tools/glyphs.py" and recipe["fonts"] > 100 and recipe["apart"]
