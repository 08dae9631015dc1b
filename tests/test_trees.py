"Trees as arrays say what scikit-learn's say, the map ties nothing, the interval holds, and no damaged file is read"
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_quality.core import ModelError
from ocr_quality.images.error_map import fit_conformal, fit_isotonic
from ocr_quality.images.trees import Predictor, Trees, average, load_predictor, map_to_json, save_predictor, with_map

ensemble = pytest.importorskip("sklearn.ensemble")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import legibility_fit as lf  # noqa: E402

NAMES = ("a", "b", "c", "d")


def made(n=800, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    y = 1 / (1 + np.exp(-x[:, 0] + x[:, 1] - x[:, 2] ** 2 / 2)) + rng.normal(size=n) * 0.05
    x[rng.random(x.shape) < missing] = np.nan
    return x, y


@pytest.fixture(scope="module")
def trees():
    x, y = made()
    t = pd.DataFrame(x, columns=list(NAMES)).assign(cer=y.clip(0, 1), page=np.arange(len(x)) // 8, family="blur")
    return lf.Boosting(NAMES, {"a": 1, "b": -1}, trees=60).fit(t)


@pytest.mark.parametrize("missing", [0, 0.1, 0.6])
@pytest.mark.parametrize("leaves, depth", [(2, 1), (12, 4), (31, None)])
def test_boosted_trees_say_the_same_as_arrays(leaves, depth, missing):
    x, y = made(missing=missing)
    model = ensemble.HistGradientBoostingRegressor(max_iter=40, max_leaf_nodes=leaves, max_depth=depth, min_samples_leaf=3, early_stopping=False,
                                                   monotonic_cst=[1, -1, 0, 0]).fit(x, y)
    new = np.vstack([made(500, 1, 0.3)[0], x, np.full((1, 4), np.nan)])
    np.testing.assert_allclose(lf.from_boosting(model, NAMES, [1, -1, 0, 0]).predict(new), model.predict(new), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["ExtraTreesRegressor", "RandomForestRegressor"])
def test_forests_say_the_same_as_arrays(kind):
    x, y = made()
    x = np.float32(x).astype(float)
    model = getattr(ensemble, kind)(20, min_samples_leaf=3, random_state=0).fit(x, y)
    new = np.float32(np.vstack([made(500, 1, 0.3)[0], x, np.full((1, 4), np.nan)])).astype(float)
    np.testing.assert_allclose(lf.from_forest(model, NAMES, [0] * 4).predict(new), model.predict(new), atol=1e-6, rtol=0)


def test_the_order_in_memory_does_not_matter(trees):
    x = made(seed=4)[0]
    for same in (np.asfortranarray(x), x[::-1][::-1], np.hstack([x, x])[:, :4]): assert (trees.predict(same) == trees.predict(x)).all()
    assert trees.predict(x[:0]).shape == (0,)


def test_an_average_says_the_mean(trees):
    x, y = made(seed=2)
    other = lf.from_boosting(ensemble.HistGradientBoostingRegressor(max_iter=5).fit(x, y), NAMES, [0] * 4)
    np.testing.assert_allclose(average([trees, other], [0.25, 0.75]).predict(x), trees.predict(x) / 4 + other.predict(x) * 3 / 4, atol=1e-12)
    assert average([trees, other]).signs.tolist() == [0] * 4 and average([trees, trees]).signs.tolist() == [1, -1, 0, 0]
    with pytest.raises(ModelError, match="same features"): average([trees, Trees(("z",), *[getattr(other, k)[:1] for k in (
        "signs", "feature", "threshold", "missing_first")], np.zeros((1, 2), np.int32), np.zeros(1), np.zeros(1, np.int32))])


numbers = st.floats(-5, 5) | st.just(np.nan)


@settings(max_examples=200, deadline=None)
@given(row=st.lists(numbers, min_size=4, max_size=4), low=st.floats(-5, 5), high=st.floats(-5, 5))
def test_signs_are_kept_everywhere(trees, row, low, high):
    for k in (0, 1):
        two = np.array([row, row])
        two[:, k] = sorted((low, high))
        less, more = trees.predict(two)
        assert (more - less) * trees.signs[k] >= -1e-12


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 1)), min_size=1, max_size=60), st.lists(st.floats(-20, 20), min_size=2, max_size=20))
def test_the_map_rises_within_0_and_1_and_ties_nothing(pairs, new):
    iso, x = fit_isotonic(*np.array(pairs).T, least=1), np.unique(np.round(new, 3))
    y = iso.apply(x)
    assert ((0 < y) & (y < 1)).all() and (np.diff(y) > 0).all()


def test_the_map_is_the_least_squares_one_where_steps_are_single():
    raw = np.arange(6.0)
    np.testing.assert_allclose(fit_isotonic(raw, raw / 10 + 0.1, least=1).apply(raw), raw / 10 + 0.1)
    np.testing.assert_allclose(fit_isotonic(raw, [0.1, 0.3, 0.2, 0.4, 0.6, 0.5], least=1).apply([1.5, 3, 4.5]), [0.25, 0.4, 0.55])
    np.testing.assert_allclose(fit_isotonic([0, 1, 2, 3], [0.5, 0.2, 0.8, 0.8], [1, 3, 1, 1], least=1).apply([0.75]), [0.275])


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_intervals_hold_for_new_pages(level):
    "Each page has a bias of its own under several conditions; what is counted is one condition of each new page"
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        page = np.repeat(np.arange(160), 12)
        expected = rng.random(page.size)
        cer = np.clip(expected + (rng.normal(size=160)[page] * 0.1 + rng.normal(size=page.size) * 0.1) * (0.2 + expected), 0, 1)
        known = page < 80
        low, high = fit_conformal(expected[known], cer[known], page[known], level).interval(expected[~known])
        inside.append(((low <= cer[~known]) & (cer[~known] <= high)).mean())
    assert level - 0.01 <= np.mean(inside) <= level + 0.04


def test_a_page_with_many_images_counts_once():
    expected, cer = np.full(120, 0.5), np.r_[np.full(20, 0.6), np.full(100, 1.0)]
    page = np.r_[np.arange(20), np.full(100, 20)]
    low, high = fit_conformal(expected, cer, page, classes=1).interval(0.5)
    assert 0.6 <= high < 0.7


@pytest.fixture
def file(tmp_path, trees):
    raw = trees.predict(made()[0])
    iso = fit_isotonic(raw, made()[1])
    con = fit_conformal(iso.apply(raw), made()[1], np.arange(len(raw)))
    return save_predictor(Predictor(trees, iso, con, "1", "a test"), tmp_path / "model.npz"), tmp_path / "model.npz"


def test_a_file_says_what_was_saved_and_the_same_model_makes_the_same_file(file, tmp_path):
    saved, path = file
    read, x = load_predictor(path), made(seed=3)[0]
    assert (read.expected(x) == saved.expected(x)).all() and read.checksum == saved.checksum and read.trees.features == NAMES
    assert (np.array(read.conformal.interval(0.3)) == np.array(saved.conformal.interval(0.3))).all()
    save_predictor(read, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def rewritten(path, **changed):
    with np.load(path) as f: arrays = dict(f)
    np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})


@pytest.mark.parametrize("spoil", [
    lambda p: p.write_bytes(p.read_bytes()[:300]), lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"\x89PNG rubbish"),
    lambda p: np.savez(p, x=np.arange(3)), lambda p: np.savez(p, x=np.array([{}], object)), lambda p: np.save(p.open("wb"), np.arange(3)),
    lambda p: rewritten(p, **{"trees.value": np.zeros(3)}), lambda p: rewritten(p, recipe=np.frombuffer(b"other", np.uint8)),
    lambda p: rewritten(p, format=np.frombuffer(b"theirs 9", np.uint8)), lambda p: rewritten(p, sha256=None)])
def test_a_damaged_or_foreign_file_is_refused_in_one_sentence(file, spoil):
    path = file[1]
    spoil(path)
    with pytest.raises(ModelError, match=r"^expected a model of .* in .*model.npz, got [^\n]*; install ocr_quality again, or name another file$"):
        load_predictor(path)


def test_every_single_flipped_byte_is_noticed_or_harmless(file):
    saved, path = file
    whole, x = path.read_bytes(), made(seed=3)[0]
    for at in np.random.default_rng(0).integers(0, len(whole), 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:])
        try: assert (load_predictor(path).expected(x) == saved.expected(x)).all()
        except ModelError: pass


def test_trees_that_run_in_circles_or_out_of_the_list_are_refused(trees):
    for children in ([[0, 2], [1, 1], [0, 0]], [[1, 3], [1, 1], [2, 2]], [[1, 2], [1, 1], [-1, 2]]):
        with pytest.raises(ModelError, match="behind their parents"):
            Trees(("a",), np.int8([0]), np.zeros(3, np.int32), np.zeros(3), np.zeros(3, bool), np.int32(children), np.zeros(3), np.int32([0]))
    with pytest.raises(ModelError, match="one of 1 features"):
        Trees(("a",), np.int8([0]), np.full(1, 4, np.int32), np.zeros(1), np.zeros(1, bool), np.int32([[0, 0]]), np.zeros(1), np.int32([0]))
    with pytest.raises(ModelError, match=r"expected a table \(n, 4\)"): trees.predict(np.zeros(4))


def changed(*path, to):
    "A map's text with one value replaced; `...`: taken out"
    def change(text):
        whole = json.loads(text)
        *way, last = path
        at = whole
        for k in way: at = at[k]
        if to is ...: del at[last]
        else: at[last] = to(at[last]) if callable(to) else to
        return json.dumps(whole)
    return change


@pytest.mark.parametrize("change", [
    lambda _: "", lambda _: "[]", lambda _: "{}", lambda text: text[:-9], changed("format", to="ocr_quality.trees 1"), changed("model", to=...),
    changed("recipe", to=...), changed("conformal", "factor", to="wide"), changed("conformal", "level", to=1.5), changed("isotonic", "at", to=[]),
    changed("isotonic", "value", 0, to=None), changed("isotonic", "value", 0, to=-0.1), changed("isotonic", "value", -1, to=1.2),
    changed("isotonic", "at", to=lambda v: v[::-1]), changed("isotonic", "value", to=lambda v: v[::-1]),
    changed("isotonic", "value", to=lambda v: v[1:]), changed("conformal", "below", 0, to=-1), changed("conformal", "above", to=lambda v: [v]),
    changed("conformal", "at", to=lambda v: v[::-1])])
def test_a_text_that_is_no_map_is_refused(file, change):
    text = change(map_to_json(file[0]))
    with pytest.raises(ModelError, match="^expected a map .* in own.json, got something else; make it again"): with_map(file[0], text, "own.json")


@pytest.mark.parametrize("model", ["0" * 64, 5])
def test_a_map_for_another_model_is_refused(file, model):
    text = changed("model", to=model)(map_to_json(file[0]))
    with pytest.raises(ModelError, match="^expected in own.json a map for the model .*, got one for [05]+; make"): with_map(file[0], text, "own.json")


def test_a_map_without_a_bound_survives_json(file):
    saved, _ = file
    p = Predictor(saved.trees, saved.isotonic, fit_conformal([0.1, 0.2], [0.1, 0.3], [0, 1]), checksum=saved.checksum)
    assert np.isinf(p.conformal.factor) and np.isinf(with_map(p, map_to_json(p)).conformal.factor)
