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
from datetime import UTC, date, datetime
from pathlib import Path

import boto3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import empty_server
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from PIL import Image
from typer.testing import CliRunner

from ocr_quality.cli import app
from ocr_quality.core import MetricError, SettingsError, SourceError, StoreError
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
    rows = pa.table({"event_id": [f"{day}-{time.time_ns()}-{i}" for i in range(n)], "time": pa.array([AT] * n, pa.timestamp("us", "UTC")),
                     "n": range(n)}
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
    "NaN": (dict(confidence=float("nan")), "confidence: expected a number, got nan"),
    "per cent": (dict(confidence=95), "confidence: expected 0 to 1, got 95"),
    "text": (dict(confidence="high"), "confidence: could not convert"), "scores": (dict(scores=[0.5, float("nan")]), "scores: 1 of 2 not understood"),
    "box": (dict(boxes=[(1, 2)]), "boxes: 1 of 1 not understood"), "boxes": (dict(boxes=5), "boxes: TypeError"),
    "mask": (dict(mask=np.zeros((2, 2, 2))), "mask: expected a mask (H, W)"),
    "noise": (dict(mask=np.random.default_rng(0).integers(0, 9, (999, 999))), "runs"),
    "areas": (dict(areas={"a": 7}), "areas: 1 of 1 not understood"),
    "naive time": (dict(time=datetime(2026, 3, 1)), "time: expected a time with a zone"),
    "our own name": (dict(model="x"), "column 'model': the name is the log's own"),
    "text's": (dict(text_confidence=85), "text_confidence: expected 0 to 1")}


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
    | st.builds(lambda n: np.zeros((n, n, n)), st.integers(0, 3)) | st.builds(lambda: [Hostile()])
    | st.just(pd.NaT) | st.just(pd.NA) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6)
NAMES = st.sampled_from("predicted confidence scores boxes areas mask text text_confidence event_id time model_version uri page width "
                        "model reason".split())


@rules(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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
    assert len(frame) >= 60 and len(image_frame(frame)) == len(frame)
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
    return {"path": (good, None), "text path": (str(good), None), "array": (grey, None), "colour": (np.dstack([grey] * 3), None),
            "pil": (Image.open(good), None),
            "bytes": (good.read_bytes(), None), "alpha": (np.dstack([grey] * 4), None), "missing": (folder / "no.png", "unreadable: not found"),
            "rubbish": (text, "unreadable: not an image or PDF"), "cut": (cut, "unreadable: truncated JPEG"),
            "folder": (folder, "unreadable: not a file"),
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
            assert [row[c] for c in ("width", "height", "orientation", "bbox_ratio")] == [96, 64, 1.0, 0.5]
            assert row["blur"] > 1000 and row["brightness"] > 0
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
    rows = log.read()
    assert rows["uri"].fillna("").tolist() == ["s3://nowhere/a.png", ""] and rows["width"].fillna(0).tolist() == [0, 4] and log.errors == []


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
    for _ in range(1000): log.log(predicted="a")
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
    for _ in range(7): log.log(predicted="a")
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
EXPECTED = {"end": 5, "exit": 5, "raise": 5, "fork": 10, "os._exit": 10, "flushed": 11, "mp fork": 10, "mp spawn": 10, "mp own": 10,
            "busy fork": None}


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


# a bucket

@pytest.fixture
def bucket(aws):
    "An S3 server that is not there yet, in an environment that has its address, and how to start it"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    address, running = f"http://127.0.0.1:{port}", []
    aws(address)

    def start():
        running.append(ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False))
        running[0].start()
        empty_server(address)
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        return client
    yield start
    for server in running: server.stop()


def test_an_unreachable_bucket_loses_nothing_within_bounds(bucket, logs, monkeypatch):
    monkeypatch.setenv("OCR_QUALITY_REMOTE_RETRIES", "0"), monkeypatch.setenv("OCR_QUALITY_REMOTE_TIMEOUT_S", "0.2")
    log = logs(root="s3://models/predictions", queue_rows=100, flush_s=0.05)
    for n in range(130): log.log(predicted="a", event_id=f"{n:03d}")
    waits(lambda: log.counts["store"] >= 1)
    assert log.flush(0.2) is False and log.counts == log.counts | {"waiting": 100, "lost": 30, "written": 0}
    bucket()
    assert log.flush(40) and log.counts["written"] == 100
    assert sorted(ids("s3://models/predictions")) == [f"{n:03d}" for n in range(100)]


def test_a_child_forked_after_the_bucket_was_used_writes_too(bucket, tmp_path):
    bucket()
    script = tmp_path / "ends.py"
    script.write_text(ENDS)
    for how, want in (("flushed", 11), ("mp fork", 10)):
        done = subprocess.run([sys.executable, "-W", "ignore", script, f"s3://models/{how}", how], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        got = ids(f"s3://models/{how}")
        assert len(got) == want == len({*got}), how


def test_a_forked_child_that_asks_the_bucket_is_told_not_hung(bucket, tmp_path):
    bucket()
    code = ("import os; from ocr_quality.objects import read_bytes, write_bytes, list_files; write_bytes('s3://models/a', b'1'); pid = os.fork()\n"
            "if pid: raise SystemExit(os.waitpid(pid, 0)[1])\n"
            "try: list_files('s3://models/')\nexcept OSError as e: assert 'forked' in str(e)\nelse: os._exit(1)\n"
            "write_bytes('s3://models/b', b'2'); os._exit(0)")
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=60).returncode == 0
    from ocr_quality.objects import read_bytes
    assert read_bytes("s3://models/b") == b"2"


def test_two_rewritings_of_one_view_in_a_bucket_are_told_apart(bucket):
    bucket()
    root = "s3://models/p"
    for _ in range(3): put(root, 2)
    log = KeptLog(root)
    part, = log.parts()
    gate, won = threading.Barrier(4), []
    real = generations._create
    def late(uri, data):
        gate.wait(20)
        return real(uri, data)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(generations, "_create", late)
        threads = [threading.Thread(target=lambda k=k: won.append(log.rewrite(part, part.alive[k % 2:]))) for k in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
    assert sum(w is not None for w in won) == 1 and len(ids(root)) == 6 == len({*ids(root)})
    compact(log)
    assert len(ids(root)) == 6 and len(log.files()) == 1


# many processes, and a kill

MANY = """
import os, sys
from ocr_quality.records.predictions import PredictionLog
root, me, side, rows = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
log = PredictionLog("m", root=root, flush_rows=1700, flush_s=3600)
out, held = open(side, "a"), []
def flush():
    assert log.flush(), log.errors
    out.write("".join(e + "\\n" for e in held)); out.flush(); os.fsync(out.fileno()); held.clear()
for i in range(rows):
    late = {f"late{me}": i, "mixed": str(i)} if me % 2 and i >= rows // 2 else {"mixed": i}
    held.append(log.log(f"{i}.png", predicted="abc"[i % 3], confidence=i / rows, event_id=f"{me}-{i}", n=i, **late))
    if i % 1500 == 1499: flush()
flush()
assert log.close() and log.counts["lost"] == 0
"""


def check_many(root, sides, rows):
    "Every row that was flushed is there, none is twice, and what finished is whole"
    flushed = [s.read_text().split() for s in sides]
    got = read_predictions("m", columns=["event_id", "n", "mixed", "late1", "late3"], root=root)
    assert got["event_id"].is_unique and {i for f in flushed for i in f} <= {*got["event_id"]}
    by = got.groupby(got["event_id"].str[:1]).size()
    assert (by.drop("0") == rows).all() and len(by) in (7, 8) and by.get("0", 0) >= len(flushed[0]) < rows
    one = got[got["event_id"].str[:2] == "1-"]
    assert sorted(one["n"]) == list(range(rows)) and one["late1"].notna().sum() == rows // 2 and {type(v) for v in got["mixed"]} == {str}
    return len(got)


def run_many(root, folder, rows=10_000, processes=8):
    "Start them all, and kill the first at a random moment; where they wrote what they had flushed"
    sides = [folder / f"side{me}" for me in range(processes)]
    for s in sides: s.touch()
    def start(me, side): return subprocess.Popen([sys.executable, "-c", MANY, root, str(me), side, str(rows)], stderr=subprocess.PIPE, text=True)
    running = [start(me, side) for me, side in enumerate(sides)]
    try:
        waits(lambda: sides[0].stat().st_size or running[0].poll() is not None, 100)
        time.sleep(random.uniform(0, 0.15))
        os.kill(running[0].pid, signal.SIGKILL)
        said = [p.communicate(timeout=150)[1] for p in running]
    finally:
        for p in running: p.kill(); p.wait()
    assert [p.returncode for p in running] == [-9] + [0] * (processes - 1), said
    return sides


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_eight_processes_and_a_kill(place, root, bucket, tmp_path):
    if place == "bucket": bucket(); root = "s3://models/many"
    sides = run_many(root, tmp_path)
    count = check_many(root, sides, 10_000)
    files = len(KeptLog(root).files())
    seen, stop, errors = [], threading.Event(), []
    def read():
        while not stop.is_set():
            try: seen.append(len(ids(root)))
            except Exception as e: errors.append(e)
    reader = threading.Thread(target=read)
    reader.start()
    try: done = compact(KeptLog(root))
    finally: stop.set(); reader.join()
    assert not errors and {*seen} == {count} and done["files"].sum() == files > 30 and len(KeptLog(root).files()) == done["date"].nunique()
    assert check_many(root, sides, 10_000) == count


# upkeep

def forked(work, *args):
    "Do some work in a forked child; its exit status, negative if it was killed"
    pid = os.fork()
    if pid: return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try: work(*args); os._exit(0)
    except BaseException: os._exit(1)


def die(*a, **kw): os.kill(os.getpid(), signal.SIGKILL)


def compact_and_die(root, where):
    "Compact, and be killed before or after a step"
    real, count = getattr(generations, where[1]) if where[0] == "module" else getattr(KeptLog, where[1]), [0]
    def hooked(*a, **kw):
        count[0] += 1
        if count[0] > where[2]: die()
        got = real(*a, **kw)
        if count[0] == where[2]: die()
        return got
    setattr(generations if where[0] == "module" else KeptLog, where[1], hooked)
    compact(KeptLog(root))


STEPS = [("module", "_copy", 0), ("module", "_copy", 1), ("log", "_publish", 0), ("log", "_publish", 1), ("module", "_rename", 0),
         ("module", "_rename", 1),
         ("log", "_publish", 2), ("log", "remove", 0), ("module", "write_bytes", 0), ("module", "write_bytes", 1), ("module", "delete", 0),
         ("module", "delete", 1), ("module", "delete", 3), ("log", "remove", 1)]


@pytest.mark.parametrize("where", STEPS, ids=str)
def test_a_compaction_killed_at_any_step_shows_every_row_once(root, where):
    for day in (DAY, date(2026, 3, 2)):
        for _ in range(4): put(root, 5, day)
    want = sorted(ids(root))
    assert forked(compact_and_die, root, where) == -9
    assert sorted(ids(root)) == want
    put(root, 5)
    assert len(ids(root)) == 45
    assert forked(compact_and_die, root, where) in (-9, 0)
    assert len(ids(root)) == 45 == len({*ids(root)})
    compact(KeptLog(root)), compact(KeptLog(root))
    assert len(ids(root)) == 45 and len(list(Path(root).rglob("*.parquet"))) - len(list(Path(root, ".tmp").glob("*"))) == 2


def test_compactions_killed_at_random_beside_writers_readers_and_each_other(root):
    for _ in range(5): put(root, 10)
    want, end, seen = 50, time.monotonic() + 4, 0
    def forever():
        while True: compact(KeptLog(root))
    while time.monotonic() < end:
        pids = []
        for _ in range(2):
            pid = os.fork()
            if not pid:
                try: forever()
                finally: os._exit(1)
            pids.append(pid)
        for _ in range(4):
            put(root, 10)
            want += 10
            got = ids(root)
            assert len(got) == want == len({*got})
            seen += 1
        time.sleep(random.uniform(0, 0.05))
        for pid in pids: os.kill(pid, signal.SIGKILL)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [-9, -9]
        got = ids(root)
        assert len(got) == want == len({*got})
    compact(KeptLog(root))
    assert len(ids(root)) == want and len(KeptLog(root).files()) == 1 and seen >= 4


def test_an_erasure_that_races_with_compactions_is_final(root):
    for _ in range(6): put(root, 5)
    errors, stop = [], threading.Event()
    def work():
        try:
            while not stop.is_set(): compact(KeptLog(root))
        except Exception as e: errors.append(e)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads: t.start()
    gone = set()
    for _ in range(12):
        put(root, 2)
        victim = random.choice(ids(root))
        assert erase(KeptLog(root), [victim])["rows"].sum() == 1
        gone.add(victim)
        assert not gone & {*ids(root)}
    stop.set()
    for t in threads: t.join()
    compact(KeptLog(root))
    got = ids(root)
    assert not errors and len(got) == 30 + 24 - 12 == len({*got}) and not gone & {*got}
    left = b"".join(p.read_bytes() for p in Path(root).rglob("*.parquet"))
    assert not any(g.encode() in left for g in gone)


def test_what_is_erased_is_off_the_disk_when_it_returns(root):
    for day in (1, 2): put(root, 3, date(2026, 3, day)), put(root, 3, date(2026, 3, day))
    victim, before = ids(root)[4], {p: p.read_bytes() for p in Path(root).rglob("model=*/**/*.parquet")}
    assert erase(KeptLog(root), [victim], dry_run=True)["rows"].tolist() == [1] and victim in ids(root)
    assert erase(KeptLog(root), [victim], "other").empty and erase(KeptLog(root), [victim])["rows"].tolist() == [1]
    after = {p: p.read_bytes() for p in Path(root).rglob("*.parquet")}
    assert not any(victim.encode() in data for data in after.values())
    assert sum(after.get(p) == data for p, data in before.items()) == 3 and len(after) == 4 and len(ids(root)) == 11


def test_a_file_written_again_after_it_was_compacted_away_is_dead(root):
    log, name = KeptLog(root), unique_part()
    data = file_bytes(pa.table({"event_id": ["a"], "time": pa.array([AT], pa.timestamp("us", "UTC"))}))
    log.put(data, "m", DAY, name), put(root, 2)
    for _ in range(3):
        for _ in range(2): compact(log), put(root, 1)  # the second one no longer sees the file
        log.put(data, "m", DAY, name)  # its writer has had no answer
        assert ids(root).count("a") == 1 and len(ids(root)) >= 3
    compact(log)
    assert ids(root).count("a") == 1 and len(KeptLog(root).files()) == 1 and len(list(Path(root).rglob("*.parquet"))) == 1


def test_a_rewriting_does_not_bring_back_what_was_retained_away_meanwhile(root, monkeypatch):
    for _ in range(3): put(root, 5)
    real, calls = KeptLog._publish, []
    def late(self, *a):
        if not calls: calls.append(retain(KeptLog(root), days=0))
        return real(self, *a)
    monkeypatch.setattr(KeptLog, "_publish", late)
    compact(KeptLog(root))
    assert ids(root) == [] and calls[0]["rows"].sum() == 15 and not list(Path(root).rglob("model=*/**/*.parquet"))


def test_types_that_differ_survive_a_compaction(root):
    put(root, 1, x=[1], scores=pa.array([[("a", 1.0)]], pa.map_(pa.string(), pa.float64()))), put(root, 1, x=["b"]), put(root, 1, x=[0.5], y=[True])
    before = read_predictions("m", root=root)
    compact(KeptLog(root))
    after = read_predictions("m", root=root)
    pd.testing.assert_frame_equal(before.sort_values("x", ignore_index=True), after.sort_values("x", ignore_index=True), check_like=True)
    assert sorted(after["x"]) == ["0.5", "1", "b"] and after["scores"].dropna().tolist() == [{"a": 1.0}]


def test_large_files_are_left_and_many_rows_are_grouped(root):
    for _ in range(3): put(root, 60_000)
    assert compact(KeptLog(root), large=1).empty and len(KeptLog(root).files()) == 3
    compact(KeptLog(root))
    file, = KeptLog(root).files()
    assert pq.ParquetFile(file.uri).metadata.num_row_groups == 2 and len(ids(root)) == 180_000


@pytest.mark.parametrize("limit,left", [(dict(days=2), ["2026-03-02", "2026-03-03"]), (dict(days=0), []),
                                        (dict(days=9), ["2026-03-01", "2026-03-02", "2026-03-03"]),
                                        (dict(bytes=0), []), (dict(bytes=10**9), ["2026-03-01", "2026-03-02", "2026-03-03"])], ids=str)
def test_what_is_kept(root, limit, left):
    for day in (1, 2, 3):
        for model in "ab": put(root, 5, date(2026, 3, day), model)
    compact(KeptLog(root), "a")
    now = datetime(2026, 3, 3, 5, tzinfo=UTC)
    would, did = (retain(KeptLog(root), **limit, now=now, dry_run=dry) for dry in (True, False))
    assert would.equals(did) and sorted({f.date.isoformat() for f in KeptLog(root).files()}) == left and did["rows"].sum() == 10 * (3 - len(left))


def test_retention_by_bytes_shares_them_among_the_models(root):
    for day in (1, 2, 3):
        for model in "ab": put(root, 500, date(2026, 3, day), model)
    frame = overview(KeptLog(root))
    assert frame[["model", "days", "rows", "files"]].values.tolist() == [["a", 3, 1500, 3], ["b", 3, 1500, 3]]
    retain(KeptLog(root), bytes=int(frame["bytes"].sum() * 0.7))
    assert sorted({(f.model, f.date.day) for f in KeptLog(root).files()}) == [("a", 2), ("a", 3), ("b", 2), ("b", 3)]


# reading

def test_every_form_and_condition_reads_the_same_rows(logs):
    log = logs(classes=["a", "b"])
    for n in range(20): log.log(scores=[n / 20, 1 - n / 20], n=n, time=f"2026-03-{1 + n // 4:02}T00:00:00Z", **({"Late Column": n} if n > 10 else {}))
    where = "scores['b'] < 0.5 and \"Late Column\" > 12"
    frame, table, relation = (log.read(columns=["n"], where=where, to=to) for to in ("pandas", "arrow", "duckdb"))
    assert frame["n"].tolist() == table["n"].to_pylist() == [r[0] for r in relation.fetchall()] == list(range(13, 20))
    assert log.read(where=(pc.field("n") > 4) & (pc.field("n") < 7))["n"].tolist() == [5, 6]
    assert log.read(since="2026-03-02", until="2026-03-03", columns=["n"])["n"].tolist() == list(range(4, 12))
    for n in range(3): log.log(n=100 + n, predicted="c", time=f"2026-04-01T0{n}:00:00Z")
    assert log.read(since="2026-04-01T01:00:00Z", columns=["n"])["n"].tolist() == [101, 102]
    assert log.read(since="2026-04-01", until="2026-04-01T02:00:00+01:00", columns=["n"])["n"].tolist() == [100, 101]
    assert log.read(until="2026-03-31", to="duckdb").aggregate("predicted, count(*) c").order("predicted").fetchall() == [("a", 10), ("b", 10)]
    for bad in ("nonsense >", "nowhere = 1", "n; drop table x", pc.field("nowhere") > 1, "(select count(*) from read_csv('/etc/passwd')) > 0"):
        with pytest.raises(StoreError, match="correct it"): log.read(where=bad)
    with pytest.raises(StoreError, match="choose one"): log.read(to="polars")


def test_the_duckdb_route_reads_a_bucket_without_extensions(bucket, logs):
    bucket()
    log = logs(root="s3://models/p")
    for n in range(5): log.log(predicted="a", n=n)
    assert log.read(where="n >= 3", to="duckdb").aggregate("sum(n)").fetchall() == [(7,)]


def test_logged_predictions_are_images_to_judge(logs):
    log = logs(metrics=["blur", "pixel_mean"])
    log.log(np.zeros((10, 20), np.uint8), boxes=[(0, 0, 10, 10, "a", 0.5), (0, 0, 2, 10, "b", 1.0), (0, 0, 4, 10, "a", 0.9)], uri="x.png",
            tag_branch="n", label="a")
    log.log(predicted="cat", confidence=0.75, page=3, batch="monday")
    log.log(areas={"ink": 0.25, "paper": 0.75}, confidence=2)
    log.log("no.png")
    images = image_frame(log.read())
    assert images.columns[:5].tolist() == ["uri", "page", "batch", "time", "reason"]
    assert images["predicted"].tolist() == [{"a": 2, "b": 1}, "cat", {"ink": 0.25, "paper": 0.75}, None]
    assert images["confidence"].round(6).fillna(-1).tolist() == [0.8, 0.75, -1, -1] and images["boxes"].fillna(-1).tolist() == [3, -1, -1, -1]
    assert images["box_area"].fillna(-1).tolist() == [0.2, -1, -1, -1] and images["page"].tolist() == [1, 3, 1, 1]
    assert images["prediction_reason"].tolist() == [None, None, "confidence: expected 0 to 1, got 2", "no prediction"]
    assert images["uri"].tolist()[0] == "x.png" and images["batch"].iloc[1] == "monday" and images["reason"].iloc[3] == "unreadable: not found"
    assert images["tag_branch"].iloc[0] == "n" and images["label"].iloc[0] == "a" and {"blur", "pixel_mean", "width"} <= {*images}


def test_a_broken_file_is_named(logs):
    log = logs()
    log.log(predicted="a"), log.flush()
    file, = Path(log.plan.store.root).rglob("model=*/**/*.parquet")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(StoreError, match=file.name): log.read()


# imports

LINE = {"predictions": {"y": "good", "z": 2}, "features": {"a": 1}, "metadata": {"site": "x"}, "timestamp": "2026-03-01T08:00:00Z",
        "__domino_timestamp": "2026-03-01 09:00:00.5", "event_id": "e0", "prediction_probability": [0.1, 0.9], "sample_weight": None,
        "instance_id": "v7"}
LINES = {"whole": LINE, "no time": LINE | {"timestamp": None}, "naive": LINE | {"timestamp": "2026-03-01T08:00:00"},
         "bad time": LINE | {"timestamp": "soon"},
         "no probability": LINE | {"prediction_probability": None},
         "NaN": LINE | {"prediction_probability": [float("nan"), 0.4], "features": {"a": float("nan")}},
         "no outputs": LINE | {"predictions": {}}, "null features": LINE | {"features": None}, "no id": LINE | {"event_id": None},
         "odd": LINE | {"predictions": {"y": [1, {"k": 2}]}, "metadata": "text"}}


def test_lines_of_every_kind_are_imported_once(root, tmp_path):
    file = tmp_path / "capture" / "model-v7-abc.log"
    file.parent.mkdir()
    lines = [json.dumps(line | {"sample_weight": n}) for n, line in enumerate(LINES.values())]
    bad = ["{", "[]", "7", '"text"', '{"event_id": 1}', "\udcff", "[" * 3000]
    file.write_text("\n".join([*lines, "", *bad, json.dumps(LINE | {"instance_id": None}), lines[0], json.dumps(LINE)]), errors="surrogateescape")
    first = import_capture(str(file.parent), "m", root)
    # `odd` has metadata that is no dictionary
    assert (first.rows, first.known, first.bad, first.waiting, first.models) == (18, 1, 8, 1, {"m": 17, "m-development": 1})
    assert sum(first.reasons.values()) == 8 and {*first.reasons} == {"not JSON", "not a captured prediction"}
    rows = read_predictions("m", root=root).set_index("sample_weight")
    told = ["predicted", "confidence", "feature_a", "metadata_site", "prediction_z", "model_version"]
    assert rows.loc[0, told].tolist() == ["good", 0.9, 1, "x", 2, "v7"]
    assert [rows.loc[n, "time"].isoformat() for n in (0, 1, 2, 3)] == [f"2026-03-01T{t}+00:00" for t in ("08:00:00", "09:00:00.500000", "08:00:00",
                                                                                                       "09:00:00.500000")]
    assert "timestamp" in rows.loc[3, "prediction_reason"] and rows.loc[5, "scores"] == {"0": None, "1": 0.4} and pd.isna(rows.loc[5, "feature_a"])
    assert "no prediction" in rows.loc[6, "prediction_reason"] and rows.loc[8, "event_id"].startswith("import-")
    assert rows["prediction_reason"].str.contains("byte").sum() == 8
    with open(file, "a") as f: f.write("\n")
    again = [import_capture(str(file.parent), "m", root) for _ in range(2)]
    assert [(d.rows, d.known, d.bad, d.waiting) for d in again] == [(1, 0, 0, 0), (0, 0, 0, 0)]
    file.write_text("\n".join([*lines, json.dumps(LINE | {"event_id": "new"})]) + "\n")  # rotated: it begins as before, and is shorter
    assert [(d.rows, d.known) for d in [import_capture(str(file), "m", root)]] == [(1, len(lines))]


def test_an_import_killed_between_rows_and_its_note_adds_nothing_twice(root, tmp_path):
    file = tmp_path / "a.log"
    file.write_text("".join(json.dumps(LINE | {"event_id": f"e{n}"}) + "\n" for n in range(50)))
    def killed():
        from ocr_quality.records import capture
        capture.keep_progress = die
        import_capture(str(file), "m", root)
    assert forked(killed) == -9 and len(ids(root)) == 50
    compact(KeptLog(root))
    done = import_capture(str(file), "m", root)
    assert (done.rows, done.known) == (0, 50) and len(ids(root)) == 50
    erase(KeptLog(root), ["e7"])
    assert import_capture(str(file), "m", root).rows == 0 and len(ids(root)) == 49


def test_four_imports_at_once_add_each_row_once(root, tmp_path):
    for k in range(4): (tmp_path / f"{k}.log").write_text("".join(json.dumps(LINE | {"event_id": f"e{n}"}) + "\n" for n in range(40)))
    done = []
    threads = [threading.Thread(target=lambda k=k: done.append(import_capture(str(tmp_path / f"{k}.log"), "m", root))) for k in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert sorted(d.rows for d in done) == [0, 0, 0, 40] and len(ids(root)) == 40


def lookout_file(folder, n, pid=1, model="cars"):
    path = folder / model / f"{model}_logs_{pid}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"image_name": [f"{i}.jpg" for i in range(n)], "pred_class": "car", "confidence": np.float32(0.5),
                          "contrast": np.float32(3)})
    for c in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"): frame[c] = np.arange(n, dtype=np.float32) if c != "bbox_x2" or n < 3 else None
    frame.to_parquet(path)
    os.utime(path, (AT / 1e6, AT / 1e6))
    return path


def test_lookout_files_are_counted_once(root, tmp_path):
    lookout_file(tmp_path, 2), lookout_file(tmp_path, 2, 2), lookout_file(tmp_path, 2, model="vans")
    first, again = (import_lookout(str(tmp_path), root=root) for _ in range(2))
    assert (first.files, first.rows, first.models) == (3, 6, {"cars": 4, "vans": 2}) and (again.rows, again.known) == (0, 6)
    lookout_file(tmp_path, 2).unlink()
    other = tmp_path / "elsewhere"
    lookout_file(other, 2)  # the same file in another place
    assert (d := import_lookout(str(other), root=root)).rows == 0 and d.known == 2
    rows = read_predictions("cars", root=root)
    assert len(rows) == 4 and (rows["time"] == pd.Timestamp("2026-03-01T08:00:00Z")).all() and rows["grey_sd"].tolist() == [3] * 4
    assert rows["boxes"].iloc[0] == [dict(x1=0, y1=0, x2=0, y2=0, confidence=0.5) | {"class": "car"}]
    for p in Path(root, ".imports").iterdir(): p.unlink()
    assert import_lookout(str(tmp_path), root=root).rows == 0
    lookout_file(other, 4, 9)
    rows = import_lookout(str(other / "cars" / "cars_logs_9.parquet"), "other", root, "2026-01-01T00:00:00Z")
    assert rows.models == {"other": 4} and read_predictions("other", root=root)["prediction_reason"].str.contains("boxes").all()
    with pytest.raises(StoreError, match="name one folder"): import_lookout(str(tmp_path), "x", root)
    with pytest.raises(SourceError, match="lookout_cv_logs"): import_lookout(str(tmp_path / "none"), root=root)


def test_a_script_of_lookout_changes_one_import(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = DetectionLogger(model_name="m", enabled_metrics=[CVMetrics.CONTRAST, CVMetrics.BLUR, CVMetrics.BRIGHTNESS], logs_dir="lookout_cv_logs")
    grey = np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)
    logger.log_prediction(image=grey, pred_class="car", confidence=0.95, image_name="image1.jpg", bbox_x1=100, bbox_y1=200, bbox_x2=300, bbox_y2=400)
    logger.log_prediction(image="no such.jpg", pred_class="car")
    logger.log_prediction(nonsense=object())
    with ClassificationLogger(model_name="m", enabled_metrics=["contrast"]) as other:
        other.log_prediction(pred_class="cat", confidence=0.99, image_name="a")
    import cv2
    rows = logger.read()
    assert logger.close() and len(rows) == 4 and not logger.log.counts["lost"]
    first = rows[rows["image_name"] == "image1.jpg"].iloc[0]
    assert first["contrast"] == pytest.approx(grey.std()) and first["blur"] == pytest.approx(cv2.Laplacian(grey, cv2.CV_64F).var())
    assert first["brightness"] == pytest.approx(grey.mean()) and first["bbox_y2"] == 400 and Path("lookout_cv_logs/model=m").is_dir()
    with pytest.raises(MetricError): DetectionLogger("m", ["nonsense"])


# the command line

def test_the_commands(root, tmp_path, home):
    def ask(*args, code=0):
        done = CliRunner().invoke(app, ["predictions", *map(str, args)])
        assert done.exit_code == code, done.output
        return done.output
    file = tmp_path / "a.log"
    file.write_text("".join(json.dumps(LINE | {"event_id": f"e{n}"}) + "\n" for n in range(5)) + "bad\n")
    assert "6 new, 0 known, 1 bad, 0 incomplete" in ask("import", file, "--model", "m")
    assert json.loads(ask("import", file, "--model", "m", "--json"))["rows"] == 0
    lookout_file(tmp_path / "logs", 2)
    assert "cars: 2" in ask("import", tmp_path / "logs", "--form", "lookout")
    today = datetime.now(UTC).date().isoformat()
    want = dict(model="m", days=1 + (today != "2026-03-01"), rows=6, files=2, first="2026-03-01", last=today, bytes=0)
    assert json.loads(ask("list", "--json"))[1] | {"bytes": 0} == want
    assert "5 predictions" in ask("read", "m", "--until", "2026-03-01", "--where", "confidence > 0.5")
    few = json.loads(ask("read", "m", "--columns", "event_id", "--where", "event_id like 'e%'", "--json"))
    assert few == [{"event_id": f"e{n}"} for n in range(5)]
    ask("read", "m", "--csv", tmp_path / "o.csv", "--parquet", tmp_path / "o.parquet")
    assert len(pd.read_csv(tmp_path / "o.csv")) == len(pq.read_table(tmp_path / "o.parquet")) == 6
    with PredictionLog("m") as log: log.log(event_id="more", time="2026-03-01T00:00:00Z")
    assert "would make one file a day of 6 rows in 2 files" in ask("compact", "--dry-run") and "made one file a day of 6 rows" in ask("compact", "m")
    assert "nothing to do" in ask("compact") and "would erase 1 row" in ask("erase", "e1", "--dry-run")
    (tmp_path / "ids").write_text("e1\ne2\r\n\n")
    assert "erased 2 rows" in ask("erase", "--file", tmp_path / "ids") and "nothing to do" in ask("erase", "e1")
    assert "would remove" in ask("retain", "m", "--bytes", "0", "--dry-run") and "removed" in ask("retain", "--days", "0")
    for args in (["read", "mm"], ["read", "m", "--where", "nope > 1"], ["compact", "mm"], ["retain"], ["retain", "--bytes", "much"], ["erase"],
                 ["import", tmp_path / "none", "--model", "m"], ["import", file], ["import", file, "--form", "x"], ["read", "m", "--since", "soon"]):
        said = ask(*args, code=2)
        assert said.startswith("ocr-quality: ") and said.count("\n") == 1
    assert ask("list") == "no predictions\n"


@pytest.mark.parametrize(("image", "more"), [
    (np.zeros((0, 10, 3), np.uint8), {}), (np.zeros((10, 0), np.uint8), {}), (None, {"width": "800", "height": "600"}),
    (None, {"width": [8], "height": [6]}), (None, {"width": 1e300, "page": 1e300})], ids=["flat", "thin", "texts", "lists", "huge"])
def test_a_picture_or_a_size_that_is_none_does_not_cost_the_prediction(logs, image, more):
    log = logs(metrics=["blur", "grey_sd", "pixel_mean"])
    log.log(image, predicted="car", confidence=0.9, **more)
    row = log.read().iloc[0]
    assert (row["predicted"], row["confidence"]) == ("car", 0.9)
    if image is not None: assert row["reason"].startswith(("unreadable", "expected a non-empty"))


def test_texts_that_look_like_counts_and_missing_classes(logs):
    log = logs()
    for said in ('{"a": "x"}', '{"a": NaN}', '{"a": 2}', float("nan"), pd.NA): log.log(predicted=said, confidence=0.9)
    assert image_frame(log.read())["predicted"].tolist() == ['{"a": "x"}', None, {"a": 2}, None, None]


class Tensor:
    def __init__(self): self.nbytes = 400_000
    def clone(self): return Tensor()
    def tolist(self): return [0.5]


class Uncopied:
    def copy(self): raise RuntimeError("no")


@pytest.mark.parametrize("values", [
    {"scores": Tensor()}, {"scores": pd.Series(np.ones(50_000))}, {"mask": np.zeros((600, 700), np.uint8), "other": Uncopied()}],
    ids=["tensor", "series", "beside one that cannot be copied"])
def test_memory_is_bounded_whatever_is_logged(logs, values):
    log = logs(queue_bytes=1_000_000, flush_s=3600)
    for _ in range(20): log.log(**values)
    assert log.counts["waiting"] == 2 and log.counts["lost"] == 18
