"What differs between two texts, by hand and by property; Tesseract on drawn pages, missing, slow, killed, and given rubbish"
import os
import re
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_quality import sheet
from ocr_quality.core import MetricError, MissingExtraError, MissingValue, OcrError, OcrQualityError, PageError, SettingsError
from ocr_quality.images import ocr as module
from ocr_quality.images.batch import known_metrics, measure_batch
from ocr_quality.images.ocr import bag_error, cer, engine_info, normalise, ocr, ocr_many, text_errors, wer
from ocr_quality.images.quality import METRIC_FUNCTIONS, ON_REQUEST, default_metrics, measure, metric
from ocr_quality.metrics import METRICS
from ocr_quality.synth import degrade

tesseract = pytest.mark.skipif(not shutil.which("tesseract") and getattr(os, "geteuid", lambda: 1)() != 0,
                               reason="Tesseract is not installed; apt install tesseract-ocr")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def letter(): return sheet.page(1, dpi=110, kind="letter")


@pytest.fixture(scope="module")
def crop(letter): return letter.gray[180:300]


@pytest.mark.parametrize("text, want", [
    ("", ""), (" \t\r\n\f\u00a0\u2003", ""), ("a  b\n\nc\x0c", "a b c"), ("\u2018a\u2019 \u201ab\u2032", "'a' 'b'"),
    ("\u201ea\u201c \u201db\u2033", '"a" "b"'), ("1\u20132\u20143\u22124\u20105\u20116\u20127\u20158", "1-2-3-4-5-6-7-8"),
    ("Versiche\u00adrung", "Versiche-rung"), ("\ufb01 \ufb02 \ufb00 \ufb03 \ufb04 \ufb05 \ufb06", "fi fl ff ffi ffl st st"), ("e\u0301", "\u00e9"),
    ("\u00bd \u00b2 \u2460", "\u00bd \u00b2 \u2460"),  # NFC, not NFKC: these are characters of their own
    ("\u00abA\u00bb \u2026 `", "\u00abA\u00bb \u2026 `"), ("Case, AND (points)!", "Case, AND (points)!")])
def test_one_form_for_two_texts(text, want): assert normalise(text) == want


@pytest.mark.parametrize("truth, read, want", [  # CER, WER, bag error; by hand
    ("abc", "abc", (0, 0, 0)), ("abc", "", (1, 1, 1)), ("kitten", "sitting", (3 / 6, 1, 3 / 6)), ("abcd", "abxd", (1 / 4, 1, 1 / 4)),
    ("abcd", "abd", (1 / 4, 1, 1 / 4)), ("abcd", "abxcd", (1 / 4, 1, 1 / 4)), ("ab", "ba", (2 / 2, 1, 0)), ("a b", "a  \n b", (0, 0, 0)),
    ("one two three", "one three", (4 / 13, 1 / 3, 4 / 13)), ("a", "aaaa", (3, 1, 3)), ("\u201cfi\u201d", '"\ufb01"', (0, 0, 0)),
    ("one two", "two one", (6 / 7, 2 / 2, 0)), ("A", "a", (1, 1, 1)), ("0O", "O0", (1, 1, 0)), ("I\u0307", "\u0130", (0, 0, 0))])
def test_error_rates_by_hand(truth, read, want):
    assert (cer(truth, read), wer(truth, read), bag_error(truth, read)) == pytest.approx(want)
    assert (cer(truth, read, clip=True), wer(truth, read, clip=True)) == pytest.approx([min(x, 1) for x in want[:2]])


def test_case_folded(): assert cer("STRASSE", "Straße", fold=True) == 0 < cer("STRASSE", "Straße")


@pytest.mark.parametrize("f", [cer, wer, bag_error, text_errors])
@pytest.mark.parametrize("truth", ["", " \n\t", "\x0c"])
def test_an_empty_truth_is_refused(f, truth):
    with pytest.raises(MissingValue, match="leave the page out") as e: f(truth, "x")
    assert isinstance(e.value, ValueError) and isinstance(e.value, MetricError)


@given(TEXT, TEXT)
def test_what_holds_for_any_two_texts(truth, read):
    assert normalise(normalise(truth)) == normalise(truth) and normalise(normalise(truth, True), True) == normalise(truth, True)
    if not normalise(truth): return
    e = text_errors(truth, read)
    assert 0 <= e.bag_error <= e.cer and cer(truth, truth) == wer(truth, truth) == 0
    assert 0 <= cer(truth, read, clip=True) <= 1 and cer(truth, "") == 1
    assert e.edits <= max(e.length, len(normalise(read))) and (e.edits == 0) == (normalise(truth) == normalise(read))
    assert e.surplus - e.missing == len(normalise(read)) - e.length


@given(st.lists(st.tuples(TEXT.filter(normalise), TEXT), min_size=1, max_size=4))
def test_a_corpus_is_edits_over_characters(pairs):
    parts = [text_errors(*p) for p in pairs]
    total = parts[0]
    for p in parts[1:]: total = total + p
    assert total.cer == sum(p.edits for p in parts) / sum(p.length for p in parts)


@tesseract
@pytest.mark.parametrize("engine", ["program", "tesserocr"])
def test_a_clean_letter_is_read(letter, engine):
    got = ocr(letter.gray, dpi=110, engine=engine)
    assert cer(letter.text, got.text) < 0.02 and bag_error(letter.text, got.text) < 0.02 and wer(letter.text, got.text) < 0.05
    w, (high, wide) = got.words, letter.gray.shape
    assert w.columns.tolist() == ["block", "par", "line", "left", "top", "width", "height", "conf", "text"]
    assert w["conf"].between(0, 100).all() and (w[["left", "top"]] >= 0).to_numpy().all()
    assert (w["left"] + w["width"] <= wide).all() and (w["top"] + w["height"] <= high).all()
    assert " ".join(w["text"]) == " ".join(got.text.split()) and got.seconds > 0 and not got.reason
    assert w["conf"].mean() > 85


@tesseract
def test_damage_raises_the_error(letter):
    rates = [cer(letter.text, ocr(degrade(letter.gray, "blur", s), dpi=110).text) for s in (0, 1)]
    assert rates[0] < 0.02 < 0.2 < rates[1]


@tesseract
@pytest.mark.parametrize("engine", ["program", "tesserocr"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (2, 2), (3, 3), (8, 8), (300, 2), (12, 3000)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_pages_without_text_have_no_words(engine, shape, level):
    got = ocr(np.full(shape, level, np.uint8), engine=engine)
    assert got.text == "" and len(got.words) == 0 and got.words["conf"].dtype == float and not got.reason


@tesseract
def test_noise_and_other_rubbish():
    ocr(np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8))
    shapes = np.zeros((4, 4, 3), np.uint8), np.zeros((0, 5), np.uint8), np.zeros(7)
    for rubbish in (*shapes, np.full((9, 9), np.nan), np.zeros((3, 3), complex), None, "a.png"):
        with pytest.raises(PageError): ocr(rubbish)
    with pytest.raises(PageError, match="at most 32767 px"): ocr(np.zeros((1, 40_000), np.uint8))


@tesseract
@pytest.mark.parametrize("wish, says", [
    ({"lang": "../eng"}, "such as eng, fra"), ({"lang": ""}, "such as eng"), ({"lang": "eng+"}, "such as eng"), ({"lang": "eng;rm"}, "such as eng"),
    ({"psm": 0}, "among 1, 3, 4"), ({"psm": 14}, "got 14"), ({"dpi": 0}, "dpi between"), ({"dpi": float("nan")}, "dpi between"),
    ({"timeout_s": 0}, "above 0"), ({"timeout_s": float("nan")}, "above 0"), ({"engine": "abbyy"}, "got 'abbyy'")])
def test_a_wish_that_cannot_be_is_refused(crop, wish, says):
    for read in (lambda: ocr(crop, **wish), lambda: ocr_many([crop], **wish)):
        with pytest.raises(SettingsError, match=re.escape(says)): read()


@tesseract
@pytest.mark.parametrize("lang, package", [
    ("xyz", "tesseract-ocr-xyz"), ("eng+chi_xyz", "tesseract-ocr-chi-xyz"), ("script/Xyzq", "tesseract-ocr-script-xyzq")])
@pytest.mark.parametrize("engine", ["program", "tesserocr"])
def test_a_language_that_is_not_installed_names_its_package(crop, engine, lang, package):
    for read in (lambda: ocr(crop, lang, engine=engine), lambda: engine_info(lang, engine), lambda: ocr_many([crop], lang=lang, engine=engine)):
        with pytest.raises(MissingExtraError, match=f"apt install {package}, ") as e: read()
        assert isinstance(e.value, OcrQualityError) and "\n" not in str(e.value)


@pytest.fixture
def no_program(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TESSDATA_PREFIX", raising=False)


def test_without_tesseract_one_sentence_says_how_to_get_it(no_program, monkeypatch, crop):
    monkeypatch.setattr(module, "require", lambda name, extra: (_ for _ in ()).throw(MissingExtraError(f"no {name}")))
    says = "^expected Tesseract, which is not installed; apt install tesseract-ocr .*ocr_quality\\[ocr\\]"
    for read in (lambda: ocr(crop), lambda: ocr_many([crop]), engine_info, lambda: known_metrics(["brisque", "ocr_confidence"])):
        with pytest.raises(MissingExtraError, match=says): read()
    with pytest.raises(MissingExtraError, match="expected the program tesseract on the PATH"): ocr(crop, engine="program")
    assert known_metrics(["brisque"]) == ["brisque"]


@tesseract
def test_without_the_program_the_library_reads(no_program, crop):
    assert engine_info()["engine"] == "tesserocr" and engine_info()["files"][0]["name"] == "eng.traineddata"
    assert "claim" in ocr(crop).text


def test_without_languages_the_library_says_where_they_may_be(no_program, monkeypatch, crop):
    pytest.importorskip("tesserocr")
    monkeypatch.setattr(module, "_PLACES", ())
    with pytest.raises(MissingExtraError, match="'eng', which is not anywhere .TESSDATA_PREFIX.*apt install tesseract-ocr-eng"): ocr(crop)


@tesseract
def test_a_folder_of_ones_own_languages(no_program, monkeypatch, tmp_path, crop):
    source = Path(next(f["path"] for f in engine_info()["files"]))
    monkeypatch.setattr(module, "_PLACES", ())
    (tmp_path / "mine.traineddata").symlink_to(source)
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    assert "claim" in ocr(crop, "mine").text
    (tmp_path / "bad.traineddata").write_bytes(b"rubbish")
    with pytest.raises(OcrError, match="failed"): ocr(crop, "bad")


def fake(tmp_path, monkeypatch, body):
    "A program called tesseract that lists the language eng and otherwise does `body`"
    (tmp_path / "eng.traineddata").write_bytes(b"")
    path = tmp_path / "tesseract"
    path.write_text(f'#!/bin/sh\nif [ "$1" = --list-langs ]; then echo \'List of available languages in "{tmp_path}" (1):\'; exit 0; fi\n{body}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return path


@pytest.mark.parametrize("body, says", [
    ("kill -9 $$", "ended by signal 9"), ("echo out of cheese >&2; exit 3", "failed with status 3: out of cheese"),
    ("exit 1", "status 1: no word why"), ("exec sleep 30", "within 0.5 s"), ("cat >/dev/null; kill -11 $$", "ended by signal 11")])
def test_a_program_that_fails_is_a_reason(tmp_path, monkeypatch, crop, body, says):
    fake(tmp_path, monkeypatch, body)
    start = time.monotonic()
    with pytest.raises(OcrError, match=says): ocr(crop, timeout_s=0.5 if "sleep" in body else 60)
    results = list(ocr_many([crop, crop], workers=2, timeout_s=0.5 if "sleep" in body else 60))
    assert [r.text for r in results] == [None, None] and all(says in r.reason for r in results)
    assert time.monotonic() - start < 20


def test_a_program_that_prints_rubbish_has_read_nothing(tmp_path, monkeypatch, crop):
    fake(tmp_path, monkeypatch, "cat >/dev/null; printf 'level\\t\\xff\\n5\\t1\\n\\n'")
    assert ocr(crop).text == ""


def test_one_core_a_program_and_a_lossless_page(tmp_path, monkeypatch, crop):
    fake(tmp_path, monkeypatch, f'env >{tmp_path}/env; echo "$@" >{tmp_path}/args; cat >{tmp_path}/page.png')
    ocr(crop, psm=4, dpi=110)
    assert "OMP_THREAD_LIMIT=1\n" in (tmp_path / "env").read_text()
    args = (tmp_path / "args").read_text()
    assert all(x in args for x in ("--oem 1", "--psm 4", "--dpi 110", "thresholding_method=0", "invert_threshold=0.7", "page_separator="))
    import cv2
    assert (cv2.imread(str(tmp_path / "page.png"), cv2.IMREAD_UNCHANGED) == crop).all()


@tesseract
def test_a_child_that_is_killed_costs_its_page_only(monkeypatch, crop):
    real, killed = module._Children.run, []
    def run(self, command, data, timeout_s):
        if not killed:
            killed.append(1)
            def kill():
                while not self.at_work: time.sleep(0.001)
                for child in list(self.at_work)[:1]: child.send_signal(signal.SIGKILL)
            threading.Thread(target=kill).start()
        return real(self, command, data, timeout_s)
    monkeypatch.setattr(module._Children, "run", run)
    got = list(ocr_many([crop] * 3, workers=1))
    assert "signal 9" in got[0].reason and got[1].text == got[2].text and "claim" in got[1].text


@tesseract
def test_many_pages_in_order_with_reasons(letter):
    lines = [letter.gray[a:a + 60] for a in (180, 260, 300)]
    want = [ocr(x).text for x in lines]
    got = list(ocr_many([lines[0], None, lambda: lines[1], np.zeros((2, 2, 2)), lambda: [][1], lines[2]], workers=3))
    assert [g.text for g in got] == [want[0], None, want[1], None, None, want[2]]
    assert got[4].reason == "failed: IndexError: list index out of range" and all(g.reason and len(g.words) == 0 for g in (got[1], got[3], got[4]))
    assert list(ocr_many([])) == []


def test_pages_are_taken_as_results_are(tmp_path, monkeypatch, crop):
    fake(tmp_path, monkeypatch, "cat >/dev/null")
    taken = []
    def pages():
        for i in range(50): taken.append(i); yield crop
    with ThreadPoolExecutor(1):
        results = ocr_many(pages(), workers=2)
        next(results)
        assert len(taken) <= 6
        results.close()
    assert len(taken) <= 6


def test_a_reader_who_leaves_ends_the_programs(tmp_path, monkeypatch, crop):
    fake(tmp_path, monkeypatch, f"if [ -e {tmp_path}/first ]; then exec sleep 60; fi; touch {tmp_path}/first")
    results = ocr_many([crop] * 8, workers=1)
    next(results)
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 10


def test_metrics_of_an_ocr_run_are_measured_on_request():
    assert not set(ON_REQUEST) & set(default_metrics()) and set(ON_REQUEST) <= set(METRICS) and set(ON_REQUEST) <= set(METRIC_FUNCTIONS)
    with pytest.raises(MetricError, match="not taken"): metric("ocr_confidence", "higher", "0-100")


@tesseract
def test_what_was_not_found_does_not_look_perfect(tmp_path, monkeypatch, letter, home):
    words = tmp_path / "words"
    words.write_text("\n".join(sheet._WORDS) + "\nl'œuvre\n")
    monkeypatch.setenv("OCR_QUALITY_OCR_WORDS", str(words))
    page = letter.gray[180:420]
    good = measure(page, list(ON_REQUEST))
    assert good["ocr_confidence"] > 85 and good["ocr_low_confidence_share"] < 0.1
    assert good["ocr_dictionary_share"] > 0.8 and 0.85 < good["ocr_text_share"] < 1.2
    monkeypatch.setattr("ocr_quality.images.ocr_metrics.ocr", lambda *a: module.OcrResult("", module._words("")))
    assert measure(page, list(ON_REQUEST)) == dict.fromkeys(ON_REQUEST, 0.0) | {"ocr_low_confidence_share": 1.0}
    blank = measure(np.full((300, 300), 240, np.uint8), list(ON_REQUEST))
    assert all(blank[m] is None and blank[f"{m}_reason"] == "blank page" for m in ON_REQUEST)
    def fail(*a): raise OcrError("it was killed")
    monkeypatch.setattr("ocr_quality.images.ocr_metrics.ocr", fail)
    assert measure(page, ["ocr_confidence"]) == {"ocr_confidence": None, "ocr_confidence_reason": "it was killed"}


@tesseract
def test_a_word_list_that_is_missing_is_a_reason(monkeypatch, letter, tmp_path, home):
    monkeypatch.setenv("OCR_QUALITY_OCR_WORDS", str(tmp_path / "none"))
    row = measure(letter.gray[180:300], ["ocr_dictionary_share"])
    assert row["ocr_dictionary_share_reason"].startswith(f"no word list at {tmp_path}/none; apt install")


@tesseract
def test_a_batch_with_an_ocr_metric(tmp_path, letter, home, monkeypatch):
    import cv2
    for i in range(2): cv2.imwrite(str(tmp_path / f"{i}.png"), letter.gray[180:300])
    cv2.imwrite(str(tmp_path / "2.png"), np.full((300, 300), 255, np.uint8))
    pages = measure_batch(str(tmp_path), ["ocr_confidence", "blank"], workers=2, progress=False)
    assert (pages["ocr_confidence"][:2] > 85).all() and pages["ocr_confidence_reason"][2] == "blank page"
    monkeypatch.setenv("OCR_QUALITY_OCR_LANG", "xyz")
    with pytest.raises(MissingExtraError, match="tesseract-ocr-xyz"): measure_batch(str(tmp_path), ["ocr_confidence"], progress=False)
