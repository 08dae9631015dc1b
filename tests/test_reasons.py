"Reasons: each family has one, a good page has none, the dearest come first, and they are placed where they are"
from types import SimpleNamespace

import numpy as np
import pytest

from ocr_quality.core import ModelError
from ocr_quality.damage import FAMILIES
from ocr_quality.images.reasons import FONT, REASONS, Shares, load_shares, reasons, save_shares, shipped_shares, where_worst
from ocr_quality.images.signs import SIGNS

K = (*REASONS, FONT)


def forest(**shares):
    "A forest of one leaf"
    value = np.zeros((1, len(K)), np.uint8)
    for k, v in shares.items(): value[0, K.index(k)] = round(255 * v)
    return Shares(tuple(SIGNS), K, np.zeros(1, np.int16), np.zeros(1, np.float32), np.zeros(1, bool), np.zeros((1, 2), np.int32), value,
                  np.zeros(1, np.int32))


def page(ny=6, nx=6, **worst):
    s = SimpleNamespace(names=tuple(SIGNS), page=np.full(len(SIGNS), 0.5), tiles=np.full((ny, nx, len(SIGNS)), 0.5), letters=np.full((ny, nx), 9))
    for k, part in worst.items(): s.tiles[(*part, tuple(SIGNS).index(k))] = 0.1
    return s


def test_every_family_has_one_reason():
    named = [f for c in REASONS.values() for f in c.families]
    assert sorted(named) == sorted(FAMILIES)
    assert all(s in SIGNS for c in REASONS.values() for s in (*c.figure, *filter(None, [c.place[0]])))


def test_the_dearest_first_and_cheap_ones_not_named():
    m = forest(shadow=0.6, small=0.3, grain=0.04)
    out = reasons(page(), 0.4, model=m)
    assert [r.name for r in out] == ["shadow", "small"] and out[0].weight == pytest.approx(0.24, abs=0.01)
    assert [r.name for r in reasons(page(), 0.4, most=1, model=m)] == ["shadow"]
    assert reasons(page(), 0.01, model=m) == () == reasons(page(), np.nan, model=m)


def test_placed():
    m = forest(shadow=1)
    (r,) = reasons(page(f_light=(slice(None), slice(4, 6))), 0.5, model=m)
    assert r.where == "right third" and r.text == "shadow over the right third: light the page evenly"
    (r,) = reasons(page(), 0.5, model=m)
    assert r.where == "" and r.text.startswith("shadow:")


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (6, 8)])
def test_nothing_to_place(shape): assert where_worst(np.full(shape, np.nan), np.zeros(shape)) == where_worst(np.ones(shape), np.full(shape, 9)) == ""


def test_the_figure_of_small_text_goes_on_beyond_its_cut_and_is_left_out_where_unknown():
    s, at = page(), tuple(SIGNS).index
    s.page[at("f_height")], s.page[at("f_height_over")] = 30, 12
    (r,) = reasons(s, 0.5, model=forest(small=1))
    assert r.text == "text is 42 px high: scan at 300 dpi or more"
    s.page[at("f_height")] = s.page[at("f_height_over")] = np.nan
    (r,) = reasons(s, 0.5, model=forest(small=1))
    assert r.text == "small: scan at 300 dpi or more"


def test_page_without_letters():
    s = page()
    s.page[:] = np.nan
    assert reasons(s, 0.9) == ()


def test_other_signs_are_refused():
    s = SimpleNamespace(names=("a",), page=np.ones(1), tiles=np.ones((1, 1, 1)), letters=np.ones((1, 1)))
    with pytest.raises(ModelError, match="expected the signs"): reasons(s, 0.5)


def test_file(tmp_path):
    m = shipped_shares()
    x = np.random.default_rng(0).normal(size=(20, len(m.features)))
    assert m.names == K and np.abs(m.apply(x).sum(1) - 1).max() < 0.02
    save_shares(m, tmp_path / "a.npz")
    assert np.array_equal(load_shares(tmp_path / "a.npz").apply(x), m.apply(x))
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:4000])
    with pytest.raises(ModelError): load_shares(tmp_path / "b.npz")
