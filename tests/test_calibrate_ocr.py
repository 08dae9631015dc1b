"The expected error rate made that of another engine: what the new map promises, which pages teach, French pages read by Tesseract, the command"
import json
import os
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as speed
from hypothesis import strategies as st
from typer.testing import CliRunner

from ocr_quality import sheet
from ocr_quality.cli import app
from ocr_quality.core import JobError, MissingExtraError, MissingValue, ModelError, SettingsError, settings
from ocr_quality.images.error_map import Conformal, Isotonic
from ocr_quality.images.quality import measure
from ocr_quality.images.recalibrate import compare, refit
from ocr_quality.images.trees import Predictor, Trees, load_calibration, save_predictor
from ocr_quality.jobs import calibrate_ocr as module
from ocr_quality.jobs.calibrate_ocr import Shipped, calibrate_ocr, calibration_text, read_pages
from ocr_quality.synth import degrade

AT = np.linspace(0.02, 0.98, 25)
ENGINES = {"same": lambda e: e, "better": lambda e: e**1.6, "worse": lambda e: np.minimum(0.04 + 1.2 * e, 0.97),
           "cliff": lambda e: 1 / (1 + np.exp(4 - 12 * e))}


@pytest.fixture(scope="module")
def shipped():
    leaf = Trees(("raw",), np.int8([0]), np.int32([0]), np.zeros(1), np.zeros(1, bool), np.int32([[0, 0]]), np.zeros(1), np.int32([0]))
    wide = Conformal(np.array([0.0, 1]), np.array([0.1, 0.2]), np.array([0.2, 0.1]), 1.0, 0.9, 500)
    return save_predictor(Predictor(leaf, Isotonic(AT, np.clip(AT**2, 1e-4, 1 - 1e-4)), wide, "toy"), os.devnull)


def stand_in(gray):
    row = measure(gray, ["sharpness"])
    if row["sharpness"] is None: raise MissingValue(row["sharpness_reason"])
    return 1 / (1 + row["sharpness"])


@pytest.fixture
def toy(shipped): return Shipped(shipped, stand_in)


def drawn(engine, n, seed, a=1, b=3):
    "Pages, most of them good, as an engine reads them: raw prediction, error rate, its mean"
    r = np.random.default_rng(seed)
    raw = r.beta(a, b, n) * 0.96 + 0.02
    mean = np.clip(ENGINES[engine](raw**2), 1e-3, 1 - 1e-3)
    return raw, r.beta(10 * mean, 10 * (1 - mean)), mean


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [30, 100])
def test_a_new_map_is_nearer_rises_and_goes_on_where_pages_end(shipped, engine, n):
    off, x = [], np.linspace(0, 1, 300)
    for seed in range(6):
        raw, cer, _ = drawn(engine, n, seed)
        made = refit(shipped, raw, cer, np.arange(n))
        new, mean = drawn(engine, 2000, 99)[::2]
        off.append([np.abs(p.isotonic.apply(new) - mean).mean() for p in (shipped, made)])
        y = made.isotonic.apply(x)
        assert (np.diff(y) > 0).all() and 0 < y[0] and y[-1] < 1 and y[-1] > 0.6
        low, high = made.conformal.interval(y)
        assert (low <= y).all() and (y <= high).all() and (np.diff(made.conformal.at) > 0).all()
    before, after = np.mean(off, 0)
    assert after < (0.03 if engine == "same" else before)


def test_the_interval_holds_what_it_states(shipped):
    covered, errors = [], []
    for engine in ("better", "worse"):
        for seed in range(8):
            raw, cer, _ = drawn(engine, 100, seed)
            made = refit(shipped, raw, cer, np.arange(100))
            new, true, _ = drawn(engine, 500, 100 + seed)
            e = made.isotonic.apply(new)
            low, high = made.conformal.interval(e)
            covered.append(((low <= true) & (true <= high)).mean())
            errors.append((e - true).mean())
    assert 0.86 < np.mean(covered) < 0.96 and np.abs(np.mean(errors)) < 0.01 and np.max(np.abs(errors)) < 0.06


def test_set_aside_pages_tell_what_new_pages_will(shipped):
    raw, cer, _ = drawn("worse", 150, 3)
    before, after = compare(shipped, raw, cer, np.arange(150))
    new, true, _ = drawn("worse", 5000, 4)
    e = refit(shipped, raw, cer, np.arange(150)).isotonic.apply(new)
    assert abs(after.absolute - np.abs(e - true).mean()) < 0.02 and before.mean_error < -0.03 < after.mean_error
    assert after.mean_error_interval[0] < after.mean_error < after.mean_error_interval[1] and 0.84 < after.covered < 0.98


def test_pictures_of_one_page_are_one_page(shipped):
    "Ten copies of a page neither narrow the interval nor stand on both sides of the cut"
    raw, cer, _ = drawn("better", 60, 5)
    one = compare(shipped, raw, cer, np.arange(60))[1]
    ten = compare(shipped, np.repeat(raw, 10), np.repeat(cer, 10), np.repeat(np.arange(60), 10))[1]
    assert abs(one.absolute - ten.absolute) < 0.02
    widths = [f.mean_error_interval[1] - f.mean_error_interval[0] for f in (one, ten)]
    assert 0.7 < widths[0] / widths[1] < 1.4


@speed(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 3))), min_size=30, max_size=60))
def test_any_pages_give_a_map(shipped, rows):
    raw, cer = np.array(rows).T
    made = refit(shipped, raw, cer, np.arange(len(raw)))
    y = made.isotonic.apply(np.linspace(-4, 4, 50))
    low, high = made.conformal.interval(y)
    assert np.isfinite(y).all() and (np.diff(y) >= 0).all() and (0 <= low).all() and (low <= y).all() and (y <= high).all() and (high <= 1).all()


def slips(folder, n=32, lose=0.2, seed=0):
    "Pictures, truths, and what an engine that loses letters on blurred pages has read"
    for i in range(n):
        page, s = sheet.page(seed + i, dpi=60, kind="letter"), (i % 8) / 8
        cv2.imwrite(f"{folder}/{i:02}.png", degrade(page.gray[:300], "blur", s, i))
        (folder / f"{i:02}.gt.txt").write_text(page.text)
        gone = np.random.default_rng(i).random(len(page.text)) < lose * s
        (folder / f"{i:02}.ocr.txt").write_text("".join(" " if g else c for c, g in zip(page.text, gone, strict=True)))


def test_which_pages_teach_and_why_others_do_not(tmp_path, toy):
    slips(tmp_path, 4)
    (tmp_path / "01.txt").write_text("not this one: .gt.txt comes first")
    (tmp_path / "00.gt.txt").rename(tmp_path / "00.txt")
    def copy(name, truth="abc", read="abc", picture="00.png"):
        shutil.copy(tmp_path / picture, tmp_path / f"{name}.png")
        for end, text in ((".gt.txt", truth), (".ocr.txt", read)):
            if text is not None: (tmp_path / f"{name}{end}").write_bytes(text if isinstance(text, bytes) else text.encode())
    copy("a_none", None)
    copy("b_empty", " \n\f")
    copy("c_latin", "caf\u00e9".encode("latin-1"))
    copy("d_unread", read=None)
    copy("e_order", "one two three four five six seven eight", "five six seven eight one two three four")
    copy("f_bom", "\ufeffabc\r\n".encode(), b"abc")
    copy("g_latin_read", read=b"\xff\xfe")
    copy("h_blank")
    copy("i_broken")
    copy("j_long")
    cv2.imwrite(str(tmp_path / "h_blank.png"), np.full((300, 300), 250, np.uint8))
    (tmp_path / "i_broken.png").write_bytes((tmp_path / "00.png").read_bytes()[:200])
    from PIL import Image
    Image.new("L", (50, 50)).save(tmp_path / "j_long.tif", save_all=True, append_images=[Image.new("L", (50, 50))])
    (tmp_path / "j_long.png").unlink()
    pages = read_pages(str(tmp_path), toy.raw, "files", workers=2)
    got = {os.path.basename(p).split(".")[0]: r for p, r in zip(pages["page"], pages["reason"], strict=True)}
    assert got.pop("i_broken").startswith("unreadable")
    assert got == dict.fromkeys(["00", "01", "02", "03", "f_bom"], "") | {
        "a_none": "no truth beside it", "b_empty": "an empty truth", "c_latin": "a text that is not UTF-8", "d_unread": "no .ocr.txt beside it",
        "e_order": "lines in another order than in the truth", "g_latin_read": "a text that is not UTF-8", "h_blank": "blank page",
        "j_long": "more than one page in a file"}
    taught = pages[pages["reason"] == ""]
    assert taught[["raw", "cer"]].notna().to_numpy().all() and (taught["chars"] > 0).all() and taught["cer"].iloc[-1] == 0


def test_fewer_than_thirty_different_pages_are_refused(tmp_path, toy):
    slips(tmp_path, 29)
    for i in range(5):
        for end in ("png", "gt.txt", "ocr.txt"): shutil.copy(tmp_path / f"00.{end}", tmp_path / f"again{i}.{end}")
    shutil.copy(tmp_path / "00.png", tmp_path / "stray.png")
    with pytest.raises(JobError, match="expected 30 different pages or more .* got 29 in .*left out: 1 no truth beside it.; add pages"):
        calibrate_ocr(str(tmp_path), "files", model=toy)


def test_few_or_good_pages_are_told(tmp_path, toy):
    slips(tmp_path, 34, lose=0)
    made = calibrate_ocr(str(tmp_path), "files", model=toy)
    said = calibration_text(made)
    assert "note: 34 different pages: 100 or more" in said and "nineteen in twenty pages have an error rate below 0.00" in said
    assert made.predictor.isotonic.apply(0.95) > 0.2, "the worst pages are not declared good because none was seen"


def test_the_command_writes_a_map_that_the_setting_uses(tmp_path, toy, monkeypatch, home):
    slips(tmp_path, 40)
    monkeypatch.setattr(module, "_shipped", lambda: toy)
    path = tmp_path / "deep" / "ours.json"
    done = CliRunner().invoke(app, ["calibrate-ocr", str(tmp_path), "--engine", "files", "--out", str(path), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "inside the 90% interval" in done.stdout and f"export OCR_QUALITY_LEGIBILITY_CALIBRATION={path}" in done.stdout
    assert [p.name for p in path.parent.iterdir()] == ["ours.json"]
    monkeypatch.setenv("OCR_QUALITY_LEGIBILITY_CALIBRATION", str(path))
    own = load_calibration(toy.predictor, settings().legibility_calibration)
    assert own.isotonic.apply(0.4) != toy.predictor.isotonic.apply(0.4) and own.trees is toy.predictor.trees
    recipe = json.loads(own.recipe)
    assert recipe["pages"] == 40 and recipe["engine"] == {"engine": "files"} and 0 <= recipe["after"]["covered"] <= 1
    done = CliRunner().invoke(app, ["calibrate-ocr", str(tmp_path), "--engine", "files", "--json"])
    facts = json.loads(done.stdout)
    assert facts["pages"] == 40 and facts["file"] == str(home / "legibility_calibration.json") and os.path.exists(facts["file"])


@pytest.mark.parametrize("text, error", [
    (None, SettingsError), (b"\xff\xfe", SettingsError), ("{}", ModelError), ("[1]", ModelError), ("", ModelError), ("null", ModelError)])
def test_a_map_that_is_none_is_refused(tmp_path, shipped, text, error):
    path = tmp_path / "map.json"
    if text is not None: path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match="map.json"): load_calibration(shipped, path)
    assert load_calibration(shipped, "") is shipped


@pytest.mark.parametrize("words, says", [
    (["nowhere"], "nowhere"), ([".", "--engine", "abbyy"], "tesseract or files, got 'abbyy'"), ([".", "--psm", "99"], "got 99"),
    ([".", "--lang", "xyz"], "tesseract-ocr-xyz"), ([".", "--lang", "../x"], "such as eng"), ([".", "--engine", "files"], "pages")])
def test_what_cannot_be_is_one_line(tmp_path, toy, monkeypatch, home, words, says):
    if "--psm" in words or "--lang" in words:
        if not shutil.which("tesseract"): pytest.skip("Tesseract is not installed; apt install tesseract-ocr")
    slips(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_shipped", lambda: toy)
    done = CliRunner().invoke(app, ["calibrate-ocr", *words])
    assert done.exit_code == 2 and says in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (home / "legibility_calibration.json").exists()


FRENCH = ("le la les une des pour avec votre notre assurance dégât dégâts eaux fenêtre toiture grêle tempête réparation déclaration pièce jointe "
          "reçu facture montant payé indemnité témoin véhicule propriétaire hôpital médecin décès même très où été à noël façade l\u2019expert "
          "d\u2019accord cœur sœur").split()


def french(seed):
    "A slip of French text, its letters 9 to 12 px high, and what stands on it"
    s, rng, lines = sheet._Sheet(110, 243, 35, "Serif", 10), np.random.default_rng(seed), []
    for row in range(7):
        lines.append(" ".join(rng.choice(FRENCH, 6)))
        s.write(0.3, 0.2 + 0.22 * row, lines[-1])
    gray = np.asarray(s.image)[:200, :700]
    return np.clip(gray + rng.normal(0, 1.5, gray.shape), 0, 255).astype(np.uint8), "\n".join(lines)


def test_french_pages_read_by_tesseract(tmp_path, toy, home):
    try: module.engine_info("fra")
    except MissingExtraError as e:
        if os.geteuid(): pytest.skip(str(e))
        raise
    for i in range(40):
        gray, text = french(i)
        damaged = degrade(gray, ("blur", "noise", "low_contrast")[i % 3], (i % 10) / 9, i)
        if i % 3 == 0: damaged = degrade(gray, "small", (i % 10) / 14, i)
        cv2.imwrite(str(tmp_path / f"{i}.png"), damaged)
        (tmp_path / f"{i}.gt.txt").write_text(text)
    made = calibrate_ocr(str(tmp_path), lang="fra", psm=6, workers=2, model=toy)
    taught = made.pages[made.pages["reason"] == ""]
    clean = taught[[int(os.path.basename(p).split(".")[0]) % 10 == 0 for p in taught["page"]]]
    assert len(taught) >= 30 and clean["cer"].max() < 0.06 and taught["cer"].max() > 0.3
    assert made.engine["lang"] == "fra" and made.engine["files"][0]["name"] == "fra.traineddata" and made.engine["psm"] == 6
    assert made.after.absolute < made.before.absolute and abs(made.after.mean_error) < abs(made.before.mean_error)
    assert "Tesseract 5" in calibration_text(made) and " fra, psm 6" in calibration_text(made)
