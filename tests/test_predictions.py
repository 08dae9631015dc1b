"Logged predictions: rubbish, forks, ends and kills; many processes on a disk and in a bucket; upkeep that is killed in the middle; imports"
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from PIL import Image
from typer.testing import CliRunner

from ocr_quality.cli import app
from ocr_quality.core import MetricError, SettingsError, SourceError, StoreError, parse_time
from ocr_quality.images.quality import default_metrics
from ocr_quality.records import generations
from ocr_quality.records.capture import import_capture
from ocr_quality.records.generations import KeptLog, file_bytes
from ocr_quality.records.lookout import ClassificationLogger, CVMetrics, DetectionLogger, import_lookout
from ocr_quality.records.mask import decode_mask
from ocr_quality.records.partition import unique_part
from ocr_quality.records.prediction_reader import image_frame, read_predictions
from ocr_quality.records.predictions import PredictionLog
from ocr_quality.records.upkeep import compact, erase, overview, retain

DAY, AT = date(2026, 3, 1), 1_772_352_000_000_000  # 2026-03-01T08:00:00Z in microseconds


@pytest.fixture
def root(tmp_path): return str(tmp_path / "predictions")


@pytest.fixture
def logs(root):
    "Makes logs, and closes them at the end of the test"
    made = []
    def make(model="m", **more):
        made.append(PredictionLog(model, root=more.pop("root", root), **more))
        return made[-1]
    yield make
    for log in made: log.close(1)


def put(root, n, day=DAY, model="m", **columns):
    "A file of `n` rows in a log"
    rows = pa.table({"event_id": [f"{day}-{time.time_ns()}-{i}" for i in range(n)], "time": pa.array([AT] * n, pa.timestamp("us", "UTC")), "n": range(n)}
                    | columns)
    return KeptLog(root).put(file_bytes(rows), model, day, unique_part())


def ids(root, model="m", **more): return read_predictions(model, columns=["event_id"], root=root, **more)["event_id"].tolist()


# one call

CALLS = {
    "a class": (dict(predicted="invoice", confidence=0.9), dict(predicted="invoice", confidence=0.9)),
    "an index": (dict(predicted=np.int64(1), confidence=np.float32(0.5)), dict(predicted="letter", confidence=0.5)),
    "an index beyond": (dict(predicted=7), dict(predicted="7")),
    "scores alone": (dict(scores=[0.2, 0.8]), dict(predicted="letter", confidence=0.8, scores={"invoice": 0.2, "letter": 0.8})),
    "scores by name": (dict(scores={"a": 1, "b": 0}), dict(predicted="a", confidence=1.0, scores={"a": 1.0, "b": 0.0})),
    "a batch of one": (dict(scores=np.array([[0.25, 0.75]])), dict(predicted="letter", confidence=0.75)),
    "no boxes": (dict(boxes=[]), dict(boxes=[], predicted=None, confidence=None)),
    "boxes": (dict(boxes=[(0, 1, 2, 3, "stamp", 0.5), (4, 5, 6, 7)]),
              dict(confidence=0.5, boxes=[dict(x1=0, y1=1, x2=2, y2=3, confidence=0.5) | {"class": "stamp"},
                                          dict(x1=4, y1=5, x2=6, y2=7, confidence=None) | {"class": None}])),
    "boxes as an array": (dict(boxes=np.array([[0, 0, 1, 1, 3, 0.25]])), dict(confidence=0.25)),
    "a thousand boxes": (dict(boxes=np.zeros((1000, 4))), dict(confidence=None)),
    "areas": (dict(areas={"ink": 0.25, "paper": 0.75}), dict(areas={"ink": 0.25, "paper": 0.75})),
    "a mask": (dict(mask=np.array([[0, 1], [1, 1]])), dict(areas={"invoice": 0.25, "letter": 0.75}, mask="2x2 0*1 1*3")),
    "OCR": (dict(text="Grüße \udcff", text_confidence=[0.5, 1]), dict(text="Grüße \\udcff", text_confidence=0.75)),
    "counts": (dict(predicted={"car": 2}), dict(predicted='{"car": 2.0}')),
    "a time": (dict(time="2026-03-01T09:00:00+01:00"), dict(time=pd.Timestamp("2026-03-01T08:00:00Z"))),
    "a number as time": (dict(time=AT / 1e6), dict(time=pd.Timestamp("2026-03-01T08:00:00Z"))),
    "further columns": (dict(a=1, b=0.5, c="x", d=True, e=datetime(2026, 3, 1, tzinfo=UTC), f=[1, {"g": None}], h=np.float32(2)),
                        dict(a=1, b=0.5, c="x", d=True, e=pd.Timestamp("2026-03-01T00:00:00Z"), f='[1, {"g": null}]', h=2.0)),
    "a version": (dict(model_version=3), dict(model_version="3")),
}


@pytest.mark.parametrize("what", CALLS)
def test_what_is_logged_is_read(logs, what):
    asked, want = CALLS[what]
    log = logs(classes=["invoice", "letter"])
    ident = log.log(None, **asked)
    row = log.read(columns=["event_id", "prediction_reason", *want]).iloc[0].to_dict()
    got = {k: None if isinstance(row[k], float) and np.isnan(row[k]) else row[k] for k in want}
    assert got == want and row["event_id"] == ident and not isinstance(row["prediction_reason"], str) and log.errors == []


REFUSED = {
    "NaN": (dict(confidence=float("nan")), "confidence: expected a number, got nan"), "per cent": (dict(confidence=95), "confidence: expected 0 to 1, got 95"),
    "text": (dict(confidence="high"), "confidence: could not convert"), "scores": (dict(scores=[0.5, float("nan")]), "scores: 1 of 2 not understood"),
    "box": (dict(boxes=[(1, 2)]), "boxes: 1 of 1 not understood"), "boxes": (dict(boxes=5), "boxes: TypeError"),
    "mask": (dict(mask=np.zeros((2, 2, 2))), "mask: expected a mask (H, W)"), "noise": (dict(mask=np.random.default_rng(0).integers(0, 9, (999, 999))), "runs"),
    "areas": (dict(areas={"a": 7}), "areas: 1 of 1 not understood"), "naive time": (dict(time=datetime(2026, 3, 1)), "time: expected a time with a zone"),
    "our own name": (dict(model="x"), "column 'model': the name is the log's own"), "text's": (dict(text_confidence=85), "text_confidence: expected 0 to 1")}


@pytest.mark.parametrize("what", REFUSED)
def test_a_value_that_makes_no_sense_is_a_reason_and_its_row_stays(logs, what):
    asked, why = REFUSED[what]
    log = logs()
    log.log(predicted="a", note="kept", **asked)
    row = log.read().iloc[0]
    assert why in row["prediction_reason"] and row["predicted"] == "a" and row["note"] == "kept"
    assert [why in e.reason and e.what == "part" for e in log.errors] == [True] and log.counts["part"] == 1 and log.counts["lost"] == 0
    for name in ("confidence", "mask", "text_confidence"): assert name not in asked or name not in row or pd.isna(row[name])


class Hostile:
    def _no(self, *a, **kw): raise RuntimeError("no")
    __str__ = __repr__ = __len__ = __iter__ = __float__ = __int__ = __bool__ = __eq__ = __hash__ = __array__ = __fspath__ = copy = clone = item = _no


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.builds(Hostile) | st.builds(object)
    | st.builds(lambda n: np.zeros((n, n, n)), st.integers(0, 3)) | st.builds(lambda: [Hostile()]) | st.just(pd.NaT) | st.just(pd.NA) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6)
NAMES = st.sampled_from("predicted confidence scores boxes areas mask text text_confidence event_id time model_version uri page width model reason".split())


@rules(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(image=ANYTHING, more=st.lists(ANYTHING, max_size=1), values=st.dictionaries(NAMES | st.text(max_size=4), ANYTHING, max_size=6))
def test_no_nonsense_raises_or_loses_a_row(tmp_path_factory, image, more, values):
    values.pop("image", None)
    log = PredictionLog("m", ["blur", "brisque", "bbox_ratio"], root=str(tmp_path_factory.getbasetemp() / "nonsense"))
    ident = log.log(image, *more, **values)
    assert isinstance(ident, str) and ident
    assert log.flush(), log.errors
    assert log.counts["written"] == 1 and log.counts["lost"] == 0, log.errors
    assert log.close()


def test_after_all_the_nonsense_the_log_can_be_read(tmp_path_factory):
    root = tmp_path_factory.getbasetemp() / "nonsense"
    if not root.exists(): pytest.skip("runs after the test above")
    frame = read_predictions("m", root=str(root))
    assert len(frame) >= 100 and len(image_frame(frame)) == len(frame)
    compact(KeptLog(str(root)))
    assert len(read_predictions("m", root=str(root))) == len(frame)


def test_an_event_id_is_taken_or_made(logs):
    log = logs()
    given = [log.log(event_id=e) for e in ("mine", 7, "", None)]
    assert given[:2] == ["mine", "7"] and len({*given}) == 4 and sorted(log.read()["event_id"]) == sorted(given)
    made = {log.log() for _ in range(1000)} | {logs().log() for _ in range(10)}
    assert len(made) == 1010


def test_an_event_id_logged_twice_is_two_rows_unless_one_is_asked_for(logs):
    log = logs()
    for n in range(3): log.log(predicted=str(n), event_id="same", time=f"2026-03-0{3 - n}T00:00:00Z")
    log.log(event_id="other", time="2026-03-01T00:00:00Z")
    assert len(log.read()) == 4 and log.read(unique=True, where="event_id = 'same'")["predicted"].tolist() == ["0"]


# pictures

def test_what_a_caller_changes_after_the_call_changes_nothing(logs):
    log = logs(metrics=["grey_mean"], flush_s=3600)
    page, scores, boxes, tags, mask = np.full((50, 60), 100, np.uint8), np.array([0.25, 0.75]), [[0, 0, 9, 9]], {"a": [1]}, np.zeros((4, 4), np.uint8)
    picture = Image.new("L", (60, 50), 100)
    log.writer_lock = log._writer.lock
    with log._writer.lock:  # the writer cannot look before everything has changed
        log.log(page, scores=scores, boxes=boxes, tags=tags, mask=mask)
        log.log(picture)
        page[:], scores[:], boxes[0][2], tags["a"][0], mask[:] = 0, 0, 1, 2, 1
        picture.paste(0, (0, 0, 60, 50))
    row = log.read().iloc[0]
    assert log.read()["grey_mean"].tolist() == [100, 100] and row["scores"] == {"0": 0.25, "1": 0.75} and row["boxes"][0]["x2"] == 9
    assert row["tags"] == '{"a": [1]}' and row["areas"] == {"0": 1.0} and (decode_mask(row["mask"]) == 0).all()


def pictures(folder):
    "Pictures of many kinds, good and bad, with what is said of them"
    grey = np.random.default_rng(0).integers(0, 255, (64, 96), np.uint8)
    good, cut, text = folder / "good.png", folder / "cut.jpg", folder / "text.png"
    Image.fromarray(grey).save(good)
    Image.fromarray(grey).save(cut)
    cut.write_bytes(cut.read_bytes()[:1000])
    text.write_text("no picture")
    return {"path": (good, None), "text path": (str(good), None), "array": (grey, None), "colour": (np.dstack([grey] * 3), None), "pil": (Image.open(good), None),
            "bytes": (good.read_bytes(), None), "alpha": (np.dstack([grey] * 4), None), "missing": (folder / "no.png", "unreadable: not found"),
            "rubbish": (text, "unreadable: not an image or PDF"), "cut": (cut, "unreadable: truncated JPEG"), "folder": (folder, "unreadable: not a file"),
            "floats": (grey / 255.0, "expected grey levels"), "volume": (np.zeros((2, 3, 4, 5), np.uint8), "expected a non-empty"),
            "empty": (np.zeros((0, 5), np.uint8), "expected a non-empty"), "wide": (np.zeros((4, 4, 7), np.uint8), "expected RGB"),
            "ints": (grey.astype(np.int32), "expected a page of uint8"), "object": (object(), "unreadable: expected a path"), "none": (None, None)}


def test_pictures_of_every_kind_are_measured_or_say_why_not(logs, tmp_path):
    kinds = pictures(tmp_path)
    log = logs(metrics=["blur", "orientation", "contrast", "brightness", "pixel_mean", "bbox_ratio"], workers=2)
    for name, (image, _) in kinds.items(): log.log(image, predicted=name, kind=name, boxes=[(0, 0, 48, 64)])
    rows = log.read().set_index("kind")
    assert len(rows) == len(kinds)
    for name, (_, why) in kinds.items():
        row = rows.loc[name]
        assert (why in row["reason"]) if why else pd.isna(row["reason"]), name
        if why is None and name != "none":
            assert (row["width"], row["height"], row["orientation"], row["bbox_ratio"]) == (96, 64, 1.0, 0.5) and row["blur"] > 1000 and row["brightness"] > 0
            assert 0.4 < row["pixel_mean"] < 0.6 and isinstance(row["contrast_reason"], str)
        else: assert pd.isna(row["blur"])
    assert rows.loc["path", "uri"] == str(tmp_path / "good.png") == rows.loc["pil", "uri"] and log.counts["lost"] == 0
    assert {e.reason for e in log.errors if e.what == "image"} == {rows.loc[n, "reason"] for n, (_, why) in kinds.items() if why}


def test_the_metrics_of_pages_keep_their_meaning_and_their_list(logs):
    assert not {"blur", "orientation", "grey_sd", "grey_mean", "pixel_mean", "bbox_ratio"} & {*default_metrics()}
    from ocr_quality import synth
    from ocr_quality.images.quality import measure
    sheet = synth.page(1, dpi=100).gray
    log = logs(metrics="all")
    log.log(sheet)
    row, want = log.read().iloc[0], measure(sheet)
    assert all(row[m] == want[m] for m in default_metrics() if want[m] is not None)
    for bad in (["blurr"], "none of these"):
        with pytest.raises(MetricError, match="register"): logs(metrics=bad)


def test_without_metrics_no_file_is_opened(logs, monkeypatch, tmp_path):
    monkeypatch.setattr("ocr_quality.records.prediction_image.read_bytes", lambda uri: pytest.fail("opened"))
    log = logs()
    log.log("s3://nowhere/a.png", predicted="a"), log.log(np.zeros((3, 4)), predicted="b")
    assert log.read()[["uri", "width"]].fillna("").values.tolist() == [["s3://nowhere/a.png", ""], ["", 4]] and log.errors == []


def test_a_page_of_a_file_of_several_is_measured(logs, tmp_path):
    pages = [Image.new("L", (40, 40), v) for v in (10, 200)]
    pages[0].save(tmp_path / "two.tiff", save_all=True, append_images=pages[1:])
    log = logs(metrics=["grey_mean"])
    for page in (1, 2, 3): log.log(tmp_path / "two.tiff", page=page)
    rows = log.read()
    assert rows["grey_mean"].fillna(-1).tolist() == [10, 200, -1] and rows["page"].tolist() == [1, 2, 3] and rows["reason"].iloc[2] == "no page 3"


# queue, flush, close

def waits(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("limit", [dict(flush_rows=10), dict(flush_bytes=7000), dict(flush_s=0.2)], ids=str)
def test_rows_are_written_by_rows_bytes_and_seconds(logs, limit):
    log = logs(**(dict(flush_rows=10**6, flush_bytes=10**9, flush_s=3600) | limit))
    for n in range(12): log.log(predicted=str(n))
    waits(lambda: log.counts["written"] >= 10)
    assert len(read_predictions("m", root=log.plan.store.root)) >= 10


def test_a_full_queue_loses_new_rows_and_counts_them(logs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    log = logs(root=str(tmp_path / "file" / "below"), queue_rows=50, flush_s=0.05, exit_s=0)
    for n in range(500): log.log(predicted=str(n), event_id=str(n))
    assert log.counts["waiting"] == 50 and log.counts["lost"] == 450 and not log.flush(0.3)
    lost, = (e for e in log.errors if e.what == "row")
    assert lost.count == 450 and lost.event_id == "499" and "queue full" in lost.reason and log.counts["store"] >= 1
    (tmp_path / "file").unlink()
    assert log.flush(20) and ids(log.plan.store.root) == [str(n) for n in range(50)]
    log.log(event_id="again")
    assert log.flush() and log.counts == log.counts | {"logged": 51, "written": 51, "waiting": 0, "lost": 450}


def test_bytes_are_bounded_and_pictures_go_before_rows(logs):
    log = logs(metrics=["grey_mean"], queue_bytes=100_000, flush_s=3600)
    with log._writer.lock:
        for n in range(20): log.log(np.full((100, 100), n, np.uint8), event_id=str(n))
        held = log._writer.queue.bytes
    rows = log.read()
    assert held <= 100_000 and len(rows) == 20 and 5 <= rows["grey_mean"].notna().sum() < 10
    assert set(rows["reason"].dropna()) == {"not measured: too many pictures waiting"} and log._writer.queue.bytes == 0 == log._writer.queue.loose
    assert log.counts["image"] == rows["reason"].notna().sum()


def test_a_call_does_not_wait_for_a_store_that_hangs(logs, monkeypatch):
    log, gate = logs(flush_rows=1), threading.Event()
    real = KeptLog.put
    monkeypatch.setattr(KeptLog, "put", lambda *a: (gate.wait(20), real(*a))[1])
    start = time.monotonic()
    for n in range(1000): log.log(predicted="a")
    took = time.monotonic() - start
    assert log.counts["written"] == 0 and took < 10 and not log.flush(0.1)
    gate.set()
    assert log.flush() and log.counts["written"] == 1000


def test_a_write_whose_answer_was_lost_is_not_doubled(logs, monkeypatch):
    log, real, calls = logs(), KeptLog.put, []
    def lossy(self, *a):
        got = real(self, *a)
        calls.append(a[-1])
        if len(calls) < 3: raise StoreError("no answer")
        return got
    monkeypatch.setattr(KeptLog, "put", lossy)
    for n in range(10): log.log(predicted=str(n))
    assert log.flush() and len({*calls}) == 1 and len(calls) == 3 and len(log.read()) == 10 and log.counts["written"] == 10


def test_a_panic_of_the_store_does_not_end_the_writer(logs, monkeypatch):
    class Panic(BaseException): pass
    log, real, calls = logs(flush_s=0.05), KeptLog.put, []
    def panics(self, *a):
        calls.append(1)
        if len(calls) == 1: raise Panic("rust")
        return real(self, *a)
    monkeypatch.setattr(KeptLog, "put", panics)
    log.log(predicted="a")
    waits(lambda: log.counts["written"] == 1)
    assert [e.what for e in log.errors] == ["store"]


def test_a_closed_log_refuses_and_counts(logs):
    log = logs()
    with log: log.log(predicted="a")
    assert log.log(predicted="b") and log.close() and log.flush()
    assert log.counts["lost"] == 1 and log.errors[-1].reason == "the log is closed" and len(log.read()) == 1


def test_what_a_close_could_not_write_is_counted(logs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    log = logs(root=str(tmp_path / "file" / "below"))
    for n in range(7): log.log(predicted="a")
    assert log.close(0.1) is False and log.counts["lost"] == 7 and log.counts["waiting"] == 0


def test_threads_share_a_log(logs):
    log = logs(flush_rows=500, metrics=["grey_mean"], workers=2)
    def work(me):
        for n in range(500): log.log(np.zeros((4, 4), np.uint8) if n % 50 == 0 else None, event_id=f"{me}-{n}")
    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    got = log.read()
    assert len(got) == 4000 and got["event_id"].is_unique and got["grey_mean"].notna().sum() == 80 and log.counts["lost"] == 0


def test_settings_that_make_no_sense_are_refused_where_the_log_is_made(root):
    for bad in (dict(flush_rows=0), dict(queue_bytes=0), dict(flush_s=0), dict(workers=0), dict(exit_s=-1), dict(flush_s=float("nan"))):
        with pytest.raises(SettingsError, match="correct"): PredictionLog("m", root=root, **bad)
    with pytest.raises(StoreError, match="model name"): PredictionLog("", root=root)
    with pytest.raises(SourceError): PredictionLog("m", root="ftp://x/y")


# ends and forks

ENDS = """
import os, sys, time, threading, multiprocessing as mp
import numpy as np
from ocr_quality.records.predictions import PredictionLog
root, how = sys.argv[1:3]
log = PredictionLog("m", ["grey_mean"], root=root, flush_s=3600, workers=2)
page = np.zeros((40, 40), np.uint8)
def child(name):
    for n in range(5): log.log(page, event_id=f"{name}-{n}")
def own(name):
    mine = PredictionLog("m", ["grey_mean"], root=root, flush_s=3600)
    for n in range(5): mine.log(page, event_id=f"{name}-{n}")
if __name__ == "__main__":
    if how == "flushed": log.log(page, event_id="first"); log.flush()
    for n in range(5): log.log(page, event_id=f"parent-{n}")
    if how == "exit": sys.exit(3)
    if how == "raise": raise KeyError("x")
    if how in ("fork", "flushed"):
        pid = os.fork()
        if not pid: child("child"); sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    if how == "os._exit":
        pid = os.fork()
        if not pid: child("child"); log.flush(); os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    if how in ("mp fork", "mp spawn", "mp forkserver", "mp own"):
        context = mp.get_context("fork" if how == "mp own" else how.split()[1])
        p = context.Process(target=own if how == "mp own" else child, args=("child",)); p.start(); p.join(); assert p.exitcode == 0
    if how == "busy fork":
        stop = []
        def work():
            n = 0
            while not stop: log.log(page, event_id=f"thread-{n}"); n += 1; time.sleep(0.0005)
        t = threading.Thread(target=work); t.start()
        for k in range(6):
            pid = os.fork()
            if not pid: child(f"child{k}"); ok = log.flush(20); os._exit(0 if ok else 1)
            assert os.waitpid(pid, 0)[1] == 0
        stop.append(1); t.join()
"""
EXPECTED = {"end": 5, "exit": 5, "raise": 5, "fork": 10, "os._exit": 10, "flushed": 11, "mp fork": 10, "mp spawn": 10, "mp own": 10, "busy fork": None}


@pytest.mark.parametrize("how", EXPECTED)
def test_nothing_is_lost_or_doubled_when_a_process_ends_or_forks(root, tmp_path, how):
    script = tmp_path / "ends.py"
    script.write_text(ENDS)
    done = subprocess.run([sys.executable, "-W", "ignore", script, root, how], capture_output=True, text=True, timeout=100)
    assert done.returncode == {"exit": 3, "raise": 1}.get(how, 0), done.stderr
    got = read_predictions("m", root=root)
    assert got["event_id"].is_unique and got["grey_mean"].notna().all() and {f"parent-{n}" for n in range(5)} <= {*got["event_id"]}
    if EXPECTED[how]: assert len(got) == EXPECTED[how]
    else: assert got["event_id"].str.startswith("child").sum() == 30 and got["event_id"].str.startswith("thread").sum() > 10
    if EXPECTED[how] == 10: assert got["event_id"].str.startswith("child").sum() == 5
