"Drift of folders, models and logged predictions: the classic keys and flags, bad input, alerts, callbacks, object stores"
import json
import re
import socket
import subprocess
import sys
from email import message_from_bytes

import cv2
import numpy as np
import pytest
from aiosmtpd.controller import Controller
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from typer.testing import CliRunner

from ocr_quality import synth
from ocr_quality.cli import app
from ocr_quality.core import EmptyBatchError, MetricError, ModelError, ProfileError, SettingsError, SourceError
from ocr_quality.images.decode import decode_pages, luma
from ocr_quality.images.pixels import pixel_histogram, pixel_moments
from ocr_quality.images.source import open_source
from ocr_quality.jobs.drift import (
    DatasetAnalyzer,
    DriftDetector,
    InputDistributionMonitor,
    ModelPredictionMonitor,
    compare_datasets,
    compare_models,
    drift_of,
    generate_html_report,
)
from ocr_quality.jobs.drift_check import drift_check
from ocr_quality.jobs.logged import profile_predictions
from ocr_quality.jobs.look import look, profile_images
from ocr_quality.jobs.model_settings import set_model
from ocr_quality.jobs.monitor import image_quality
from ocr_quality.jobs.profiles import keep_baseline, load_profile, profile_digest, save_profile
from ocr_quality.judge.profile import merge
from ocr_quality.judge.profile_file import profile_dict
from ocr_quality.records.predictions import PredictionLog
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.incidents import incidents

FEW = ["sharpness", "contrast"]


class Says:
    "A model: `form` on paper, `photo` on the dark, as sure as told"
    name, checksum = "says", "c0ffee"

    def __init__(self, sure=0.9, checksum="c0ffee", row=None, spread=0.02):
        self.sure, self.checksum, self.row, self.spread, self.batches = sure, checksum, row, spread, []

    def predict(self, images):
        self.batches.append(len(images))
        assert all(i.dtype == np.uint8 and i.ndim == 3 and i.shape[2] == 3 and i.flags.c_contiguous for i in images)
        return [self.row(i) if self.row else {"predicted": "form" if i[:9].mean() > 128 else "photo",
                                              "confidence": float(np.clip(self.sure + self.spread * np.sin(i.sum()), 0, 1))} for i in images]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    "Folders of small pages: january and may are alike, june is blurred, dark has other answers"
    top = tmp_path_factory.mktemp("sets")
    for name, n, seed, blur in (("january", 60, 0, 0), ("may", 25, 300, 0), ("june", 25, 200, 0.9), ("dark", 25, 500, 0)):
        (top / name).mkdir()
        for i in range(n):
            page = synth.degrade(synth.page(seed + i, dpi=36).gray, "blur", blur)
            cv2.imwrite(str(top / name / f"{i:02d}.png"), 255 - page if name == "dark" else page)
    return top


@pytest.fixture(scope="module")
def baseline(sets): return DatasetAnalyzer(sets / "january", Says(), metrics=FEW).analyze()


@pytest.fixture
def store(home):
    with MetricStore(f"sqlite:///{home.parent}/store.db") as store: yield store


def cli(*args):
    done = CliRunner().invoke(app, ["drift", *map(str, args)])
    assert "Traceback" not in done.output
    return done


# The contract of the earlier monitor -----------------------------------------------------------------------------------------------

def test_the_baseline_has_the_classic_keys(sets, baseline):
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", baseline["timestamp"])
    assert baseline["dataset_info"]["image_count"] == 60 and len(baseline["dataset_info"]["input_size"]) == 2
    seen = baseline["input_distribution"]["pixel_statistics"]
    assert set(seen["overall"]) >= {"mean", "std", "min", "max", "median", "q25", "q75"}
    assert [len(seen["per_channel"][k]) for k in ("mean", "std")] == [3, 3]
    told = baseline["predictions"]
    assert (told["prediction_count"], told["unique_classes"], told["class_distribution"]) == (60, 1, {"form": 60})
    assert set(told["confidence_statistics"]) == {"mean", "std", "min", "max"}
    pixels = np.concatenate([cv2.imread(str(p)).ravel() for p in sorted((sets / "january").iterdir())]) / 255
    want = {"mean": pixels.mean(), "std": pixels.std(), "min": pixels.min(), "max": pixels.max(), "median": np.median(pixels),
            "q25": np.percentile(pixels, 25), "q75": np.percentile(pixels, 75)}
    assert seen["overall"] == pytest.approx(want)


def test_the_report_has_the_classic_keys(sets, baseline):
    report = DatasetAnalyzer(sets / "june", Says(0.6)).detect_drift(baseline)
    assert report["overall_drift_detected"] is True
    assert set(report["pixel_distribution_drift"]) >= {"drift_detected", "severity", "baseline_mean", "current_mean", "overall_mean_shift"}
    assert set(report["confidence_drift"]) >= {"drift_detected", "severity", "baseline_mean_confidence", "current_mean_confidence"}
    assert set(report["class_distribution_drift"]) >= {"drift_detected", "severity", "wasserstein_distance"}
    assert {k: type(v) for k, v in report["drift_summary"].items()} == dict.fromkeys(
        ("pixel_drift", "confidence_drift", "class_distribution_drift", "input_drift", "missing"), bool)
    shift = abs(report["confidence_drift"]["current_mean_confidence"] - report["confidence_drift"]["baseline_mean_confidence"])
    assert shift == pytest.approx(0.3, abs=0.02) and report["confidence_drift"]["severity"] == "high"
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_another_systems_baseline_gives_the_classic_checks_and_says_so(sets, baseline):
    old = {k: baseline[k] for k in ("dataset_info", "predictions")} | {"timestamp": "2024-05-01T10:00:00"}
    old["input_distribution"] = {"pixel_statistics": {"overall": baseline["input_distribution"]["pixel_statistics"]["overall"],
                                                      "per_channel": {"mean": [0.9] * 3, "std": [0.2] * 3}}}
    old["predictions"] = {k: old["predictions"][k] for k in ("prediction_count", "unique_classes", "class_distribution", "confidence_statistics")}
    same, dark = (DatasetAnalyzer(sets / name, Says()).detect_drift(old) for name in ("may", "dark"))
    assert (same["overall_drift_detected"], dark["pixel_distribution_drift"]["drift_detected"]) == (False, True)
    assert dark["class_distribution_drift"]["wasserstein_distance"] == 1.0
    assert any("classic limits" in note for note in same["notes"])


def test_flags_files_and_exit_codes(sets, tmp_path, monkeypatch, home):
    monkeypatch.chdir(tmp_path)
    assert cli("baseline", "--data-dir", sets / "january", "--metrics", "contrast", "--output", "b.json").exit_code == 0
    done = cli("monitor", "--data-dir", sets / "june", "--baseline", "b.json", "--output", "out/report.json", "--html")
    assert done.exit_code == 0 and "high" in done.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]
    assert cli("monitor", sets / "june", "--baseline", "b.json", "--gate", "--quiet").exit_code == 1
    assert cli("monitor", sets / "may", "--baseline", "b.json", "--gate").exit_code == 0
    two = ("--data-dir-1", sets / "january", "--data-dir-2", sets / "dark")
    done = cli("compare", *two, "--output", "c.json", "--html", "--json", "--metrics", "none")
    assert done.exit_code == 0 and json.loads(done.stdout) == json.loads((tmp_path / "c.json").read_text())
    assert (tmp_path / "report.html").stat().st_size < 2e6
    assert "The inputs are different" in cli("compare", sets / "january", sets / "dark", "--metrics", "none").output
    assert json.loads(cli("baseline", sets / "may", "--json", "--metrics", "none").stdout)["dataset_info"]["image_count"] == 25
    assert not (tmp_path / "baseline.json").exists()


@pytest.mark.parametrize("args, says", [
    (("baseline",), "a source of images once"), (("baseline", "{s}/may", "--data-dir", "{s}/may"), "a source of images once"),
    (("baseline", "{t}"), "got none"), (("baseline", "{s}/nowhere"), "got"), (("monitor", "{s}/may", "--baseline", "{t}/no.json"), "not found"),
    (("monitor", "{s}/may", "--baseline", "{s}/may/00.png"), "as JSON"), (("baseline", "{s}/may", "--model", "{t}/m.pt"), "onnx"),
    (("baseline", "{s}/may", "--model", "{t}/bad.onnx"), "onnxruntime can load"), (("compare", "{s}/may"), "second source"),
    (("compare", "{s}/may", "{s}/june", "--model-2", "x.onnx"), "--model"),
    (("check", "{s}/may"), "--model"), (("check", "--model", "m"), "--since and --until"),
    (("check", "{s}/may", "--model", "nobody"), "drift baseline FOLDER --keep nobody"),
    (("monitor", "{s}/may", "--baseline", "{t}/b.json", "--alpha", "2"), "alpha"),
    (("baseline", "{s}/may", "--metrics", "brisk"), "expected metrics"),
])
def test_what_goes_wrong_is_one_line_and_exit_code_2(args, says, sets, tmp_path, home, baseline):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "b.json").write_text(json.dumps(baseline))
    done = cli(*(a.format(s=sets, t=tmp_path) for a in args))
    assert done.exit_code == 2 and says in re.sub(r"[│\s]+", " ", done.output)


def test_the_names_and_modes_of_before(sets, baseline, tmp_path):
    assert InputDistributionMonitor(sets / "dark", metrics=[]).detect_drift(baseline)["severity"] == "high"
    assert set(InputDistributionMonitor(sets / "may", metrics=[]).analyze()) >= {"pixel_statistics"}
    assert ModelPredictionMonitor(sets / "may", Says(), metrics=[]).analyze()["prediction_count"] == 25
    assert ModelPredictionMonitor(sets / "dark", Says(), metrics=[]).detect_drift(baseline)["class_distribution_drift"]["drift_detected"]
    assert DriftDetector(baseline).detect(DatasetAnalyzer(sets / "june", Says(), metrics=FEW).analyze())["overall_drift_detected"]
    args = ["--mode", "baseline", "--data-dir", str(sets / "may"), "--output", str(tmp_path / "b.json"), "--metrics", "none"]
    subprocess.run([sys.executable, "-m", "ocr_quality.cli_drift", *args], check=True, capture_output=True)
    assert load_profile(tmp_path / "b.json").images == 25


# One pass --------------------------------------------------------------------------------------------------------------------------

def test_profiles_of_halves_add_up_to_that_of_the_whole(sets, tmp_path):
    def some(first, last):
        files = [str(f) for f in sorted((sets / "january").iterdir())[first:last]]
        return open_source(files, batch="all", time="2026-03-01")
    whole = profile_images(some(0, 60), FEW, Says(), chunk=7, workers=3)
    parts = [profile_images(some(i, i + 20), FEW, Says(), time=whole.time) for i in (0, 20, 40)]
    one, added = profile_dict(whole), profile_dict(merge([load_profile(save_profile(p, tmp_path / "p.json")) for p in parts]))
    for d in (one, added): d["dataset_info"].pop("source")
    assert [added[k] for k in ("dataset_info", "model", "timestamp", "sample")] == [one[k] for k in ("dataset_info", "model", "timestamp", "sample")]
    assert added["input_distribution"]["histogram"] == one["input_distribution"]["histogram"]
    for k, m in one["input_distribution"]["metrics"].items(): assert added["input_distribution"]["metrics"][k] == pytest.approx(m), k
    assert added["predictions"]["class_distribution"] == one["predictions"]["class_distribution"]


@pytest.mark.parametrize("workers, chunk, batch_size", [(1, 256, 1), (3, 5, 4), (2, 1, 8)])
def test_rows_do_not_depend_on_how_the_work_is_cut(sets, workers, chunk, batch_size):
    def rows(**more):
        frames = (f.drop(columns="fingerprint") for f, _ in look(sets / "may", FEW, progress=False, **more))
        return [json.loads(f.to_json(orient="records", date_format="iso")) for f in frames]
    want = [r for f in rows(model=Says(), workers=1) for r in f]
    model = Says()
    got = rows(model=model, workers=workers, chunk=chunk, batch_size=batch_size)
    assert [r for f in got for r in f] == want
    assert max(len(f) for f in got) < chunk + batch_size
    assert max(model.batches) <= batch_size and sum(model.batches) == 25


def test_every_page_of_a_long_file_meets_the_model(tmp_path):
    cv2.imwritemulti(str(tmp_path / "fax.tif"), [np.full((30, 40), 40 + 5 * i, np.uint8) for i in range(30)])
    model = Says(row=lambda i: {"predicted": str(i[0, 0, 0]), "confidence": 0.5})
    (frame, _), = look(tmp_path, [], model, workers=3, batch_size=8, progress=False)
    assert frame.predicted.tolist() == [str(40 + 5 * i) for i in range(30)] and max(model.batches) == 8


def test_mixed_sizes_and_grey_among_colour_are_treated_alike(tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (50, 40), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), gray)
    cv2.imwrite(str(tmp_path / "b.png"), np.repeat(gray[..., None], 3, 2))
    cv2.imwrite(str(tmp_path / "c.png"), np.dstack([gray[:7], gray[:7] // 2, gray[:7] // 4]))
    (tmp_path / "d.png").write_bytes(b"")
    (frame, counts), = look(tmp_path, [], Says(), progress=False)
    assert frame.channels.tolist()[:3] == [1, 3, 3] and frame.width.tolist()[:3] == [40, 40, 40] and frame.height.tolist()[:3] == [50, 50, 7]
    assert frame.pixel_mean[0] == pytest.approx(frame.pixel_mean[1]) == pytest.approx(gray.mean() / 255)
    assert frame.predicted[0] == frame.predicted[1] and frame.confidence[0] == frame.confidence[1]
    assert counts.sum() == 3 * 40 * (50 + 50 + 7) and frame.reason.tolist()[3] == "empty file"
    assert profile_images(tmp_path, []).readable == 3


def test_colours_come_from_the_decoding_that_gives_the_grey():
    rng = np.random.default_rng(1)
    page = np.clip(rng.normal(150, 20, (120, 90, 1)) + rng.normal(0, 15, (120, 90, 3)), 0, 255).astype(np.uint8)
    for kind, options in ((".png", []), (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95])):
        data = cv2.imencode(kind, page[..., ::-1], options)[1].tobytes()
        (grey,), (both,), (rgb,) = (list(decode_pages(data, "x", **o)) for o in ({}, {"colour": True}, {"colour": True, "grey": False}))
        assert grey.rgb is None and rgb.gray is None and (both.rgb == rgb.rgb).all() and (both.gray == luma(both.rgb)).all()
        assert np.abs(both.gray.astype(int) - grey.gray).max() <= (0 if kind == ".png" else 2)
        if kind == ".png": assert (both.rgb == page).all()


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32 - 1), st.booleans())
@tries(max_examples=60, deadline=None)
def test_histograms_are_exact(h, w, seed, colour):
    page = np.random.default_rng(seed).integers(0, 256, (h, w, 3) if colour else (h, w), np.uint8)
    counts = pixel_histogram(page)
    channels = [page[..., c] for c in range(3)] if colour else [page] * 3
    assert counts.tolist() == [np.bincount(c.ravel(), minlength=256).tolist() for c in channels]
    if page.size: assert pixel_moments(counts) == pytest.approx(((page / 255).mean(), (page / 255).std()))


# Bad answers -----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("row, reason", [
    (lambda i: {"predicted": "form", "confidence": float("nan")}, "confidence is not a number"),
    (lambda i: {"predicted": "form", "confidence": None}, "confidence is not a number"),
    (lambda i: {"predicted": "form", "confidence": "sure"}, "confidence is not a number"),
    (lambda i: {"predicted": "form", "confidence": 17}, "confidence outside 0 to 1: 17"),
    (lambda i: {"predicted": "form", "confidence": 0.9, "prediction_reason": "scores do not sum to one"}, "scores do not sum to one"),
    (lambda i: 1 / 0, "prediction failed: ZeroDivisionError: division by zero"),
])
def test_answers_that_are_none_are_counted_and_are_drift(row, reason, sets, baseline):
    (frame, _), = look(sets / "may", [], Says(row=row), progress=False)
    assert frame.prediction_reason.tolist() == [reason] * 25 and frame.confidence.isna().all() and frame.predicted.isna().all()
    report = DatasetAnalyzer(sets / "may", Says(row=row), metrics=[]).detect_drift(baseline)
    assert (report["severity"], report["drift_summary"]["missing"], report["counted"]["current"]["no_prediction"]) == ("high", True, 25)
    assert "0 of 25 images have a valid answer" in report["headline"]
    with pytest.raises(ModelError, match="got none for 25 images"): DatasetAnalyzer(sets / "may", Says(row=row), metrics=[]).analyze()


def test_one_bad_image_does_not_cost_the_others_their_answers(sets):
    def row(image):
        if image.sum() % 5 == 0: raise RuntimeError("picky")
        return {"predicted": "form", "confidence": 0.9}
    frame, = (f for f, _ in look(sets / "may", [], Says(row=row), progress=False))
    bad = frame.prediction_reason.notna()
    assert 0 < bad.sum() < 25 and (frame.predicted[~bad] == "form").all()


def test_a_model_that_gives_too_few_answers_is_not_believed(sets):
    class Short(Says):
        def predict(self, images): return super().predict(images)[:-1]
    frame, = (f for f, _ in look(sets / "may", [], Short(), progress=False))
    assert frame.prediction_reason.str.startswith("prediction failed: ValueError: 0 predictions for 1 images").all()


def test_a_class_never_seen_is_named(sets, baseline):
    report = DatasetAnalyzer(sets / "dark", Says()).detect_drift(baseline)
    assert [c["class"] for c in report["questions"]["predictions"]["classes"] if c["new"]] == ["photo"]
    assert report["class_distribution_drift"]["drift_detected"] and any("Never seen before: photo" in f for f in report["findings"])


def test_detections_with_nothing_found_are_answers(sets):
    def row(i): return {"predicted": {}, "confidence": float("nan"), "boxes": 0, "box_area": float("nan")}
    made = profile_images(sets / "may", [], Says(row=row))
    assert (made.predictions, made.troubles, made.moments["boxes"].mean) == (25, {}, 0.0)


def test_a_baseline_of_another_model_is_refused_unless_wanted(sets, baseline):
    with pytest.raises(ProfileError, match="c0ffee"): DatasetAnalyzer(sets / "may", Says(checksum="f00d")).detect_drift(baseline)
    report = DatasetAnalyzer(sets / "may", Says(checksum="f00d")).detect_drift(baseline, any_model=True)
    assert any("Two models" in n for n in report["notes"]) and report["reference"]["model"]["checksum"] == "c0ffee"


@pytest.mark.parametrize("change, says", [({"version": 2}, "version 1"), ({"format": "else"}, "format 'else'"), ({"sample": 3}, "damaged")])
def test_a_damaged_or_newer_baseline_is_refused(change, says, sets, baseline, tmp_path):
    (tmp_path / "b.json").write_text(json.dumps(baseline | change))
    with pytest.raises(ProfileError, match=says): DatasetAnalyzer(sets / "may").detect_drift(tmp_path / "b.json")


def test_nothing_to_look_at_is_an_error(tmp_path, sets, baseline):
    with pytest.raises(EmptyBatchError): DatasetAnalyzer(tmp_path)
    with pytest.raises(SourceError): DatasetAnalyzer(tmp_path / "none")
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(ProfileError, match="unreadable: not an image or PDF: 1"): DatasetAnalyzer(tmp_path).analyze()
    with pytest.raises(ProfileError, match="none could be read"): DatasetAnalyzer(tmp_path).detect_drift(baseline)
    with pytest.raises(MetricError): DatasetAnalyzer(sets / "may", metrics=["brisk"]).analyze()


# Two models ------------------------------------------------------------------------------------------------------------------------

def test_data_or_model(sets, tmp_path):
    report = compare_models(sets / "january", sets / "may", Says(0.9), Says(0.7, "f00d"), metrics=[])
    parts = {p["part"]: p["change"] for p in report["questions"]["data_or_model"]["parts"]}
    assert parts["model"] == pytest.approx(-0.2, abs=0.01) and abs(parts["images"]) < 0.02
    assert sum(parts[k] for k in ("images", "model", "interaction")) == pytest.approx(parts["total"])
    assert report["confidence_drift"]["drift_detected"] and any("Two models" in n for n in report["notes"])
    text = open(generate_html_report(report, tmp_path / "r.html")).read()
    assert report["questions"]["data_or_model"]["sentence"][:30] in text
    again = compare_datasets(sets / "january", sets / "may", Says(), metrics=[])
    assert again["questions"]["data_or_model"] is None and not again["overall_drift_detected"]


# The daily check -------------------------------------------------------------------------------------------------------------------

def days(top, sets, *names):
    "Dated batches made of the sets"
    for i, name in enumerate(names, 1):
        (top / f"2026-03-{i:02d}").mkdir(parents=True)
        for f in (sets / name).iterdir(): (top / f"2026-03-{i:02d}" / f.name).write_bytes(f.read_bytes())
    return top


@pytest.fixture
def kept(home, sets):
    made = DatasetAnalyzer(sets / "january", Says(), metrics=FEW).profile()
    keep_baseline("forms", made)
    return made


def test_a_check_tells_once_and_again_changes_nothing(tmp_path, sets, kept, store, home):
    source = days(tmp_path / "in", sets, "may", "june", "june", "may", "may", "may")
    out = drift_check(source, "forms", runtime=Says(), store=store)
    assert out.batches.verdict.tolist() == ["pass", "fail", "fail", "pass", "pass", "pass"] and out.failed
    assert [len(s) for s in out.batches.said] == [0, 1, 0, 0, 0, 1]
    one = incidents(store)
    assert one[["model", "severity", "batches", "state"]].values.tolist() == [["forms", "critical", 2, "recovered"]]
    assert "recovered from drift" in out.told[-1].splitlines()[0]
    model = Says()
    again = drift_check(source, "forms", runtime=model, store=store)
    assert again.batches.status.unique().tolist() == ["unchanged"] and not model.batches and not again.told
    assert again.batches.drop(columns=["status", "alert_id", "incident", "said"]).equals(
        out.batches.drop(columns=["status", "alert_id", "incident", "said"]))
    points = store.series("forms", "drift_severity")
    assert points.value.tolist() == [0, 3, 3, 0, 0, 0] and points.detail[1]["baseline"] == profile_digest(kept)
    assert len(incidents(store)) == 1 and len(store.alerts()) == 2
    report = json.loads((home / "reports/forms/drift/2026-03-02/report.json").read_text())
    assert report["overall_drift_detected"] and (home / "reports/forms/drift/2026-03-02/report.html").stat().st_size < 2e6


def test_a_batch_that_grew_is_compared_again(tmp_path, sets, kept, store):
    source = days(tmp_path / "in", sets, "may")
    assert drift_check(source, "forms", store=store).batches.status.tolist() == ["compared"]
    for f in (sets / "june").iterdir(): (source / "2026-03-01" / f"b{f.name}").write_bytes(f.read_bytes())
    out = drift_check(source, "forms", store=store)
    assert out.batches[["status", "verdict", "images"]].values.tolist() == [["compared", "fail", 50]]
    assert store.series("forms", "drift_severity").value.tolist() == [3]


def test_what_was_not_asked_does_not_end_an_incident(tmp_path, sets, kept, store):
    set_model(store, "forms", recover_after=1)
    source = days(tmp_path / "in", sets, "may", "may", "may")
    batches = sorted(source.iterdir())
    assert drift_check(batches[0], "forms", runtime=Says(0.6), store=store).batches.series.tolist() == ["drift_confidence"]
    assert drift_check(batches[1], "forms", store=store).batches.verdict.tolist() == ["pass"]
    assert incidents(store).state.tolist() == ["open"]
    drift_check(batches[2], "forms", runtime=Says(), store=store)
    assert incidents(store).state.tolist() == ["recovered"]


def test_drift_and_quality_are_incidents_of_their_own(tmp_path, sets, kept, store):
    set_model(store, "forms", recover_after=1, metrics=["contrast", "brisque"], rule="limit", limit=500)
    source = days(tmp_path / "in", sets, "june")
    drift_check(source, "forms", store=store)
    quality = image_quality(source, "forms", store=store)
    assert quality.batches.verdict.tolist() == ["pass"] and incidents(store).state.tolist() == ["open"]


def test_nothing_readable_is_an_alert_not_a_crash(tmp_path, sets, kept, store):
    source = days(tmp_path / "in", sets, "may")
    for f in (source / "2026-03-01").iterdir(): f.write_text("no picture")
    out = drift_check(source, "forms", store=store)
    row = out.batches.iloc[0]
    assert (row.verdict, row.series, row.severity, row.report, row.unreadable) == ("fail", "drift_missing", "high", None, 25)
    assert "None of the 25 images could be read (unreadable: not an image or PDF 25)" in row.headline
    assert len(incidents(store)) == 1


def test_backfill_and_severities(tmp_path, sets, kept, store):
    set_model(store, "forms", severity={"drift_high": "notice"})
    source = days(tmp_path / "in", sets, "june")
    out = drift_check(source, "forms", store=store, backfill=True)
    assert out.failed and incidents(store).empty and out.batches.html.tolist() == [None] and store.alerts().empty
    other = days(tmp_path / "more", sets, "may", "june")
    drift_check(sorted(other.iterdir())[1], "forms", store=store)
    assert incidents(store).severity.tolist() == ["notice"]


def test_callbacks_are_told_and_may_fail(tmp_path, sets, kept, store):
    told = {"end": [], "verdict": [], "alert": []}
    def breaks(row):
        told["end"].append(row["batch"])
        row.clear()
        raise OSError("pager is out")
    source = days(tmp_path / "in", sets, "may", "june")
    hooks = dict(on_batch_end=breaks, on_verdict=told["verdict"].append, on_alert=told["alert"].append)
    out = drift_check(source, "forms", store=store, **hooks)
    assert out.callback_errors == [f"on_batch_end of batch 2026-03-0{i}: OSError: pager is out" for i in (1, 2)]
    assert told["end"] == ["2026-03-01", "2026-03-02"] and [r["verdict"] for r in told["verdict"]] == ["pass", "fail"]
    alert, = told["alert"]
    assert (alert["batch"], alert["model"], alert["severity"], alert["incident"]) == ("2026-03-02", "forms", "high", incidents(store).incident[0])
    assert told["verdict"][1]["found"]["overall_drift_detected"] and store.alerts().alert_id.tolist() == [alert["alert_id"]]
    drift_check(source, "forms", store=store, **hooks)
    assert (len(told["end"]), len(told["verdict"]), len(told["alert"])) == (4, 2, 1)


def test_the_monitor_has_the_same_callbacks(tmp_path, sets, home, store):
    set_model(store, "m", metrics=["contrast", "brisque"], rule="limit", limit=30)
    seen = {"end": [], "verdict": [], "alert": []}
    def breaks(row): seen["end"].append(row["batch"]); raise KeyError("no")
    source, hooks = days(tmp_path / "in", sets, "june"), dict(on_batch_end=breaks, on_verdict=seen["verdict"].append, on_alert=seen["alert"].append)
    out = image_quality(source, "m", store=store, **hooks)
    assert out.batches.verdict.tolist() == ["fail"] and out.callback_errors == ["on_batch_end of batch 2026-03-01: KeyError: 'no'"]
    assert seen["alert"][0]["alert_id"] == out.batches.alert_id[0] and seen["verdict"][0]["model"] == "m"
    image_quality(source, "m", store=store, **hooks)
    assert [len(v) for v in seen.values()] == [2, 1, 1]


def test_logged_predictions_are_checked(home, store):
    rng = np.random.default_rng(0)
    with PredictionLog("forms", model_version="7") as log:
        for day, sure in [(d, 0.9) for d in range(1, 9)] + [(9, 0.9), (10, 0.6)]:
            for i in range(40): log.log(predicted=str(rng.choice(["a", "b"])), confidence=float(np.clip(rng.normal(sure, 0.05), 0, 1)),
                                        time=f"2026-03-{day:02d}T08:{i:02d}:00Z", event_id=f"{day}-{i}")
    keep_baseline("forms", profile_predictions("forms", "2026-03-01", "2026-03-08"))
    good, bad = (drift_check(model="forms", since=d, until=d, store=store) for d in ("2026-03-09", "2026-03-10"))
    assert good.batches[["batch", "verdict", "images"]].values.tolist() == [["2026-03-09", "pass", 40]]
    assert bad.batches[["verdict", "series"]].values.tolist() == [["fail", "drift_confidence"]]
    assert any("8 batches of the reference" in n for n in bad.report["notes"])
    assert drift_check(model="forms", since="2026-03-10", until="2026-03-10", store=store).batches.status.tolist() == ["unchanged"]
    with pytest.raises(SettingsError, match="since and until"): drift_check(model="forms", store=store)
    with pytest.raises(ProfileError, match="got none"): drift_check(model="forms", since="2026-04-01", until="2026-04-01", store=store)
    with PredictionLog("forms", model_version="8") as log: log.log(predicted="a", confidence=0.9, time="2026-03-11T08:00:00Z")
    with pytest.raises(ProfileError, match="baseline of the model 8"):
        drift_check(model="forms", since="2026-03-11", until="2026-03-11", store=store)


# The outside world -----------------------------------------------------------------------------------------------------------------

def test_mail_tells_what_drifted(tmp_path, sets, kept, store):
    mails = []
    class Inbox:
        async def handle_DATA(self, server, session, envelope):
            mails.append(message_from_bytes(envelope.content))
            return "250 OK"
    with socket.create_server(("127.0.0.1", 0)) as s: port = s.getsockname()[1]
    relay = Controller(Inbox(), hostname="127.0.0.1", port=port)
    relay.start()
    try:
        set_model(store, "forms", recipients=[f"mailto://127.0.0.1:{port}?from=scans@example.org&to=intake@example.org"])
        source = days(tmp_path / "in", sets, "june")
        for _ in range(2): drift_check(source, "forms", store=store)
    finally: relay.stop()
    mail, = mails
    assert mail["subject"].replace("\n", "").startswith("forms: The inputs are different and worse")
    text = next(p for p in mail.walk() if p.get_content_type() == "text/plain").get_payload(decode=True).decode()
    assert "report.html" in text and "Compared" in text and "alerts ack" in text


def test_images_baseline_and_reports_in_an_object_store(bucket, sets, home, monkeypatch, tmp_path, store):
    monkeypatch.setenv("OCR_QUALITY_HOME", "s3://scans/home")
    for name, folder in (("january", "january"), ("june", "in/2026-03-01")):
        for f in (sets / name).iterdir(): bucket.upload_file(str(f), "scans", f"{folder}/{f.name}")
    keep_baseline("forms", DatasetAnalyzer("s3://scans/january", metrics=FEW).profile())
    out = drift_check("s3://scans/in", "forms", store=store)
    keys = {o["Key"] for o in bucket.list_objects_v2(Bucket="scans", Prefix="home")["Contents"]}
    assert keys == {"home/profiles/forms.json", *(f"home/reports/forms/drift/2026-03-01/report.{k}" for k in ("json", "html"))}
    assert out.failed and out.batches.html[0] == "s3://scans/home/reports/forms/drift/2026-03-01/report.html"
    assert drift_check("s3://scans/in", "forms", store=store).batches.status.tolist() == ["unchanged"]
    monkeypatch.chdir(tmp_path)
    done = cli("monitor", "s3://scans/in", "--baseline", "s3://scans/home/profiles/forms.json", "--output", "s3://scans/out/r.json", "--gate", "-q")
    assert done.exit_code == 1 and json.loads(bucket.get_object(Bucket="scans", Key="out/r.json")["Body"].read())["severity"] == "high"


# Real models -----------------------------------------------------------------------------------------------------------------------

def test_a_real_model_end_to_end(sets, tmp_path, home):
    made = pytest.importorskip("models_made", reason="needs the package onnx")
    pytest.importorskip("onnxruntime")
    path = made.mobile_onnx(tmp_path / "forms.onnx", size=32, width=4)
    assert cli("baseline", sets / "january", "--model", path, "--metrics", "none", "--output", tmp_path / "b.json", "-q").exit_code == 0
    kept = load_profile(tmp_path / "b.json")
    assert kept.predictions == 60 and kept.model["name"] == "forms" and len(kept.model["checksum"]) == 16
    same = cli("monitor", sets / "may", "--baseline", tmp_path / "b.json", "--model", path, "--json", "--metrics", "none")
    assert json.loads(same.stdout)["counted"]["current"]["predictions"] == 25
    other = made.mobile_onnx(tmp_path / "other.onnx", size=32, width=4, seed=1)
    done = cli("monitor", sets / "may", "--baseline", tmp_path / "b.json", "--model", other, "-q")
    assert done.exit_code == 2 and "baseline of the model" in " ".join(done.output.split())
    two = cli("compare", sets / "january", sets / "may", "--model", path, "--model-2", other, "--json", "--metrics", "none")
    assert {p["part"] for p in json.loads(two.stdout)["questions"]["data_or_model"]["parts"]} == {"images", "model", "interaction", "total"}
    done = cli("baseline", sets / "may", "--model", made.two_inputs_onnx(tmp_path / "two.onnx"))
    assert done.exit_code == 2 and "one input" in " ".join(done.output.split())


def test_logged_predictions_are_counted_once_with_or_without_a_measured_picture(tmp_path):
    root = str(tmp_path / "predictions")
    with PredictionLog("m", metrics=["grey_mean"], root=root, queue_bytes=100_000) as log:  # Room for the calls, not for the pictures
        for i in range(10, 40):
            log.log(np.zeros((300, 400), np.uint8), predicted="a", confidence=0.9, event_id=str(i), time=f"2026-01-01T10:00:{i}Z", model_version="1")
        for i in range(10, 20): log.log(predicted="b", confidence=0.9, event_id=str(i), time=f"2026-01-02T10:00:{i}Z", model_version="2")
    made = profile_predictions("m", root=root)
    assert (made.images, made.readable, made.classes) == (30, 30, {"a": 20, "b": 10})
    assert profile_predictions("m", until="2026-01-01", root=root).classes == {"a": 30}
    first = profile_predictions("m", until="2026-01-01", root=root)
    with pytest.raises(ProfileError, match="1 and 2"): drift_of(first, made)


def test_a_baseline_of_another_model_without_a_checksum_is_refused(tmp_path):
    root, made = str(tmp_path / "predictions"), []
    for model in ("forms", "letters"):
        with PredictionLog(model, root=root) as log:
            for _ in range(30): log.log(predicted="a", confidence=0.9)
        made.append(profile_predictions(model, root=root))
    with pytest.raises(ProfileError, match="letters"): drift_of(*made)
    assert drift_of(*made, any_model=True)["overall_drift_detected"] is False
