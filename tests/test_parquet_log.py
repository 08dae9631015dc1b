"The page log: schemas that change, names that bite, writers that race and die, a bucket over HTTP"
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ocr_quality.core import MetricError, StoreError, TimeError, parse_time
from ocr_quality.records import parquet_log
from ocr_quality.records.parquet_log import ParquetLog
from ocr_quality.records.partition import quote_part, unquote_part

DAY = "2026-03-01"


def pages(n=3, batch=DAY, when=f"{DAY}T08:00:00Z", **columns):
    frame = pd.DataFrame(dict(batch=batch, time=parse_time(when), uri=[f"{batch}/{i}.jpg" for i in range(n)], page=1, brisque=np.arange(n) + 0.5))
    return frame.assign(reason=None).assign(**columns)


@pytest.fixture
def log(tmp_path): return ParquetLog(tmp_path / "pages")


def put(log, frame, model="claims", day=DAY, name="b"):
    with log.open(model, day, name) as f: f.write(frame)


def written(log): return [p for p in Path(log.root).rglob("*.parquet") if p.is_file()]


def hidden(log): return [p for p in Path(log.root, ".tmp").rglob("*") if p.is_file()]


# schemas

def test_an_int_column_meets_a_float_one_and_a_tag_comes_late(log):
    log.append(pages(2, brisque=[1, 2]), "claims", DAY)
    log.append(pages(2, brisque=[1.5, None], brisque_reason=[None, "flat"], tag_scanner="b2"), "claims", "2026-03-02")
    log.append(pages(1, brisque=None, tag_scanner=7), "claims", "2026-03-03")
    read = log.read("claims")
    assert read["brisque"].dtype == "float64" and read["brisque"].fillna(-9).tolist() == [1, 2, 1.5, -9, -9]
    assert read["tag_scanner"].fillna("").tolist() == ["", "", "b2", "b2", "7"]
    assert read["brisque_reason"].fillna("").tolist() == ["", "", "", "flat", ""]
    assert str(read["time"].dtype) == "datetime64[us, UTC]" and list(read.columns[:3]) == ["model", "batch", "time"]


CONFLICTS = [([1], ["a"], ["1", "a"]), ([True], [0.5], [1.0, 0.5]), ([None], [3], [None, 3]), ([None], ["x"], [None, "x"]),
             ([2**60], [0.5], [float(2**60), 0.5]),
             ([np.float32(0.5)], [1], [0.5, 1.0]), ([date(2026, 3, 1)], [1], ["2026-03-01", "1"]),
             (pd.Categorical(["x"]), ["y"], ["x", "y"]), ([[1]], [None], ["[1]", None])]


@pytest.mark.parametrize("first,second,want", CONFLICTS, ids=[f"{f} {s}" for f, s, _ in CONFLICTS])
def test_types_that_differ_are_widened_between_files_and_within_one(log, first, second, want):
    a, b = pages(1).assign(x=first), pages(1).assign(x=second)
    log.append(a, "files", DAY); log.append(b, "files", "2026-03-02")
    with log.open("chunks", DAY, "b") as f: f.write(a); f.write(b)
    for model in ("files", "chunks"):
        got = log.read(model)["x"].astype(object)
        assert got.where(got.notna(), None).tolist() == want


def test_a_column_of_nothing_is_of_a_kind_its_name_tells(log):
    log.append(pages(2, brisque=None, brisque_reason=None, tag_a=None), "claims", DAY)
    read = log.read("claims", columns=["brisque", "tag_a", "nowhere", "tag_nowhere", "brisque_reason"])
    assert list(read.columns) == ["brisque", "tag_a", "nowhere", "tag_nowhere", "brisque_reason"] and read.isna().all(axis=None) and len(read) == 2
    assert read.dtypes.astype(str).tolist() == ["float64", "str", "float64", "str", "str"]


def test_chunks_with_many_schemas_become_one_file(log):
    with log.open("claims", DAY, "b") as f:
        for i in range(20): f.write(pages(5, **{f"metric{i % 7}": i, "brisque": [1, 2, 3, 4, 5] if i % 2 else [0.5] * 5}))
        assert f.rows == 100
    read = log.read("claims")
    assert len(log.files()) == 1 and len(read) == 100 and read["metric3"].sum() == 5 * (3 + 10 + 17) and not hidden(log)


def test_times_are_utc_and_naive_ones_are_refused(log):
    log.append(pages(1).assign(time=pd.to_datetime(["2026-03-01T01:00:00.123456789+02:00"])), "claims", DAY)
    assert log.read("claims")["time"].tolist() == [pd.Timestamp("2026-02-28T23:00:00.123456Z")]
    with pytest.raises(TimeError, match="column taken"): put(log, pages(1).assign(taken=pd.Timestamp("2026-03-01")), name="x")
    with pytest.raises(MetricError, match="rename"): put(log, pd.concat([pages(1)] * 2, axis=1), name="x")
    assert len(log.files()) == 1 and not hidden(log)


def test_a_column_model_comes_from_the_place_not_from_the_frame(log):
    log.append(pages(1).assign(model="other"), "claims", DAY)
    assert log.read()["model"].tolist() == ["claims"]


# names

NAMES = ["claims-ocr", "..", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "Größe 1", "模型", "model=x",
         "date=2026-01-01", ".hidden", "_hidden", "%2F", "a%", "C:", "a*?[x]", "a\nb", "scan\udcff", " ", "x.parquet"]


@pytest.mark.parametrize("name", NAMES, ids=[ascii(n) for n in NAMES])
def test_any_name_is_safe_as_model_and_as_batch(log, name):
    put(log, pages(2), model=name, name=name)
    put(log, pages(1), model=name, name=name)
    log.append(pages(3), "another", DAY)
    assert len(log.read(name)) == 1 and [f.model for f in log.files(name)] == [name] and unquote_part(quote_part(name)) == name
    assert {p.relative_to(log.root).parts[0] for p in written(log)} == {f"model={quote_part(name)}", "model=another"}
    assert all(len(p.relative_to(log.root).parts) == 3 for p in written(log))


def test_long_batch_names_are_told_apart_and_long_model_names_refused(log):
    names = ["x" * 500 + end for end in "ab"] + ["ü" * 100]
    for n in names: put(log, pages(1), name=n)
    put(log, pages(2), name=names[0])
    assert len(log.files()) == 3 and len(log.read()) == 4
    for bad in ("x" * 300, "", None):
        with pytest.raises(StoreError, match="model name"): put(log, pages(1), model=bad)


# filters

def test_model_days_columns_and_batch_narrow_what_is_read(log, monkeypatch):
    for m in ("claims", "forms"):
        for d in range(1, 6): log.append(pages(2, batch=f"b{d}", when=f"2026-03-0{d}T08:00:00Z"), m, f"2026-03-0{d}")
    assert len(log.read()) == 20 and set(log.read()["model"]) == {"claims", "forms"}
    opened = []
    real = pq.ParquetFile
    class Spy(real):
        def __init__(self, source, **kw): opened.append(str(source)); super().__init__(source, **kw)
        def read(self, columns=None, **kw): opened.append(columns); return super().read(columns=columns, **kw)
    monkeypatch.setattr("ocr_quality.records.parquet_log.pq.ParquetFile", Spy)
    read = log.read("claims", since="2026-03-02", until="2026-03-03", columns=["brisque", "uri"])
    assert read.columns.tolist() == ["brisque", "uri"] and len(read) == 4
    files = [o for o in opened if isinstance(o, str)]
    assert len(files) == 2 and all("model=claims/date=2026-03-0" in f for f in files)
    assert all(set(c) == {"brisque", "uri", "time"} for c in opened if isinstance(c, list))
    assert log.read("claims", batch="b4")["uri"].tolist() == ["b4/0.jpg", "b4/1.jpg"] and log.read("claims", batch="b9").empty


def spied(monkeypatch, name):
    "Files that the function `name` of the log is called with from now on"
    calls, real = [], getattr(parquet_log, name)
    monkeypatch.setattr(parquet_log, name, lambda first, *rest: calls.append(first) or real(first, *rest))
    return calls


def test_a_batch_is_read_from_its_own_file_and_what_was_appended(log, monkeypatch):
    days = [f"2026-{m:02}-{d:02}" for m in (1, 2) for d in range(1, 26)]
    for d in days: put(log, pages(2, batch=d, when=f"{d}T08:00:00Z"), day=d, name=d)
    late = log.append(pages(1, batch=days[7], uri="late.jpg"), "claims", days[40])
    loaded, listed, stamped = spied(monkeypatch, "_load"), spied(monkeypatch, "list_files"), spied(monkeypatch, "_stamp")
    for i, d in enumerate(days):
        rows = log.read("claims", batch=d)
        assert set(rows["batch"]) == {d} and len(rows) == 2 + (i == 7)
    assert len(loaded) == 100 and sum(f.uri == late for f in loaded) == 50 and len(listed) == 50 and not stamped
    assert log.read("claims", batch="no such").empty and len(loaded) == 101
    assert [f.name for f in log.files("claims", batch=days[3])] == [days[3], Path(late).stem]
    assert len(log.read("claims", since=days[3], until=days[5], batch=days[4])) == 2 and len(loaded) == 102


def test_days_out_of_range_are_not_opened_unless_a_batch_has_moved_there(log, monkeypatch):
    for d in range(1, 10): put(log, pages(2, when=f"2026-03-0{d}T08:00:00Z"), day=f"2026-03-0{d}", name=f"b{d}")
    with monkeypatch.context() as m:
        m.setattr(ParquetLog, "_remove_before", lambda *a: None)  # as after a crash
        put(log, pages(2, when="2026-03-01T08:00:00Z"), day="2026-03-01", name="b5")
        put(log, pages(2, when="2026-03-01T08:00:00Z"), day="2026-03-02", name="b9")
    loaded, stamped = spied(monkeypatch, "_load"), spied(monkeypatch, "_stamp")
    assert len(log.read("claims", since="2026-03-04", until="2026-03-06")) == 4  # the fifth batch is now the first day's
    assert [f.name for f in loaded] == ["b4", "b6"] and [f.name for f in stamped] == ["b5", "b5"]


@pytest.mark.parametrize("since,until,want", [
    (None, None, 3), ("2026-03-01", "2026-03-01", 3), ("2026-03-01T08:00:00Z", None, 3), ("2026-03-01T08:00:00.000001Z", None, 2),
    (None, "2026-03-01T08:00:00Z", 1), ("2026-03-01T10:00:00+02:00", "2026-03-01T10:00:00+01:00", 2), (date(2026, 3, 2), None, 0),
    (None, "2026-02-28", 0), (datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC), None, 1)])
def test_bounds_are_included_and_a_day_counts_whole(log, since, until, want):
    times = [parse_time(f"{DAY}T{t}Z") for t in ("08:00:00", "09:00:00", "23:59:59.999999")]
    log.append(pages(3).assign(time=times), "claims", DAY)
    assert len(log.read("claims", since=since, until=until)) == want


@pytest.mark.parametrize("bad", ["2026-03-01T08:00:00", datetime(2026, 3, 1), "2026-02-30", "yesterday", 5])
def test_a_bound_or_day_that_is_none_is_refused(log, bad):
    with pytest.raises(TimeError): log.read(since=bad)
    with pytest.raises(TimeError): log.append(pages(1), "claims", bad)
    assert log.read().empty


def test_rows_without_time_count_with_their_day(log):
    log.append(pages(2).assign(time=[parse_time(f"{DAY}T08:00:00Z"), None]), "claims", DAY)
    assert len(log.read(since="2026-03-01T09:00:00Z")) == 1 and log.read(since="2026-03-02").empty


def test_an_empty_log_and_an_empty_frame(log):
    assert log.read().empty and log.files() == [] and log.read(columns=["brisque"]).columns.tolist() == ["brisque"]
    put(log, pages(0))
    with log.open("claims", DAY, "b"): pass
    assert log.files() == [] and not Path(log.root).exists()
    put(log, pages(2))
    put(log, pages(0))
    assert len(log.read()) == 2
    assert log.read("claims", since="2027-01-01").columns.tolist()[:2] == ["model", "batch"]


# replacing

def test_a_batch_written_again_replaces_its_file_also_on_another_day(log):
    put(log, pages(3), day="2026-03-05"); put(log, pages(1), name="other"); log.append(pages(1), "claims", DAY)
    for day, n in (("2026-03-05", 4), ("2026-03-01", 5), ("2026-04-01", 2)):
        put(log, pages(n), day=day)
        assert len(log.read("claims")) == n + 2 and len(log.files("claims")) == 3
    assert len(written(log)) == 3


def test_the_same_name_in_two_models_is_two_batches(log):
    put(log, pages(1), model="a"); put(log, pages(2), model="b")
    assert [f.model for f in log.files()] == ["a", "b"]


@pytest.mark.parametrize("old,new", [("2026-03-05", "2026-03-01"), ("2026-03-01", "2026-03-05")])
def test_between_the_two_steps_of_a_replacement_the_later_file_counts(log, monkeypatch, old, new):
    put(log, pages(3), day=old)
    with monkeypatch.context() as m:
        m.setattr(ParquetLog, "_remove_before", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt): put(log, pages(2), day=new)
    assert len(written(log)) == 2 and len(log.read()) == 2 and len(log.files()) == 1
    put(log, pages(1), day="2026-03-09")
    assert len(written(log)) == 1 and len(log.read()) == 1


def test_of_two_writers_the_one_that_closed_last_stays(log):
    put(log, pages(3), day="2026-03-05")
    with log.open("claims", "2026-03-01", "b") as f:
        f.write(pages(4))
        put(log, pages(7), day="2026-03-05")
        assert len(log.read()) == 7
    assert len(log.read()) == 4 and len(written(log)) == 1


def test_a_writer_waits_for_another_and_says_so_when_it_takes_too_long(log, monkeypatch):
    monkeypatch.setattr(parquet_log, "_LOCK_S", 0.05)
    put(log, pages(3))
    with log._alone():
        with pytest.raises(StoreError, match="held for 0.05 s; end the other writer"): put(log, pages(4))
        log.append(pages(1), "claims", DAY)
        assert len(log.read()) == 4 and not hidden(log)
    put(log, pages(4))
    assert len(log.read()) == 5


def test_without_a_lock_as_in_a_bucket_the_one_that_closed_last_stays(log, monkeypatch):
    monkeypatch.setattr(ParquetLog, "_alone", lambda self: nullcontext())
    put(log, pages(3), day="2026-03-05")
    rename, calls = parquet_log._rename, []
    def slow(source, target):
        if not calls: calls.append(1); put(log, pages(7), day="2026-03-05")  # another finishes while this one is about to
        rename(source, target)
    monkeypatch.setattr(parquet_log, "_rename", slow)
    put(log, pages(4), day="2026-03-01")
    assert len(log.read()) == 7 and len(log.files()) == 1
    put(log, pages(5), day="2026-03-02")
    assert len(log.read()) == 5 and len(written(log)) == 1


def test_a_clock_that_goes_back_does_not_bring_the_old_file_back(log, monkeypatch):
    put(log, pages(3), day="2026-03-05")
    monkeypatch.setattr("ocr_quality.records.parquet_log.time.time_ns", lambda: 1)
    put(log, pages(2), day="2026-03-01")
    assert len(log.read()) == 2 and len(written(log)) == 1


# crashes and races

def test_a_block_that_raises_leaves_nothing_and_keeps_what_was(log):
    put(log, pages(3))
    with pytest.raises(KeyError):
        with log.open("claims", DAY, "b") as f: f.write(pages(1)); f.write(pages(1, late=1)); raise KeyError
    assert len(log.read()) == 3 and not hidden(log)


def test_only_stale_hidden_files_are_swept(log):
    put(log, pages(1))
    tmp = Path(log.root, ".tmp")
    for name, age in (("ocr_quality-log-old.parquet", 90_000), ("ocr_quality-log-new.parquet", 60), ("somebody-elses.parquet", 90_000)):
        (tmp / name).write_bytes(b"half"); os.utime(tmp / name, (time.time() - age,) * 2)
    assert len(log.read()) == 1
    put(ParquetLog(log.root), pages(1))
    assert sorted(p.name for p in tmp.iterdir()) == ["ocr_quality-log-new.parquet", "somebody-elses.parquet"]


WRITER = """
import sys, pandas as pd
from ocr_quality.records.parquet_log import ParquetLog
log, me, how = ParquetLog(sys.argv[1]), sys.argv[2], sys.argv[3]
def frame(i, n=20):
    brisque = [i if int(me) % 2 else i + 0.5] * n
    return pd.DataFrame(dict(batch=f"{me}-{i}", uri=[f"{me}/{i}/{k}" for k in range(n)], page=1, brisque=brisque) | {f"m{me}": 1})
if how == "append":
    for i in range(12): log.append(frame(i), "claims", f"2026-03-{i + 1:02}"); print(i, flush=True)
if how == "die":
    log.append(frame(0), "claims", "2026-03-01")
    with log.open("claims", "2026-03-02", "b") as f:
        for i in range(1_000_000): f.write(frame(i)); print(i, flush=True)
"""


def start(log, me, how): return subprocess.Popen([sys.executable, "-c", WRITER, log.root, str(me), how], stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_leaves_nothing_that_is_seen(log):
    with start(log, 1, "die") as writer:
        for line in writer.stdout:
            if int(line) == 30: break
        os.kill(writer.pid, signal.SIGKILL)
    assert len(hidden(log)) == 1 and len(log.read()) == 20 and len(log.files()) == 1
    put(log, pages(1), day="2026-03-02")
    assert len(log.read()) == 21


def test_four_processes_append_while_one_reads(log):
    writers = [start(log, i, "append") for i in range(4)]
    seen = []
    try:
        while any(w.poll() is None for w in writers):
            read = log.read("claims")
            seen.append(len(read))
            assert not len(read) or (read.groupby("batch").size() == 20).all()  # whole files only
            time.sleep(0.05)
    finally:
        for w in writers: w.kill(); w.wait(); w.stdout.close()
    assert [w.returncode for w in writers] == [0] * 4 and seen == sorted(seen)
    read = log.read("claims")
    assert len(read) == 4 * 12 * 20 and read["uri"].is_unique and read["brisque"].dtype == "float64" and not hidden(log)
    assert {c for c in read if c.startswith("m") and c != "model"} == {"m0", "m1", "m2", "m3"} and read["m2"].sum() == 240


def test_a_reader_never_fails_while_a_batch_moves_between_days(log):
    put(log, pages(5))
    from threading import Event, Thread
    stop, errors = Event(), []
    def move():
        i = 0
        try:
            while not stop.is_set(): i += 1; put(log, pages(5), day=f"2026-03-{i % 5 + 1:02}")
        except Exception as e: errors.append(e)
    mover = Thread(target=move)
    mover.start()
    try:
        for _ in range(60): assert len(log.read("claims")) == 5
    finally: stop.set(); mover.join()
    assert not errors and len(log.files()) == 1


@pytest.mark.parametrize("old,new", [("2026-03-05", "2026-03-01"), ("2026-03-01", "2026-03-05")])
def test_a_batch_that_moves_while_the_folders_are_listed_is_not_missed(log, monkeypatch, old, new):
    put(log, pages(5), day=old)
    real, moved = os.scandir, []
    def slow(path):
        if str(path).endswith("date=2026-03-05") and not moved:  # the other day has been looked at
            moved.append(1)
            put(log, pages(5), day=new)
        return real(path)
    put(log, pages(1), day="2026-03-01", name="other"); put(log, pages(1), day="2026-03-05", name="another")
    monkeypatch.setattr(os, "scandir", slow)
    assert len(log.read("claims")) == 7 and moved


def test_a_log_whose_files_never_rest_is_an_error_not_a_part_of_the_rows(log, monkeypatch):
    put(log, pages(5))
    monkeypatch.setattr(ParquetLog, "_mark", lambda self: os.urandom(8))
    monkeypatch.setattr(parquet_log, "_WAITS", (0, 0))
    for call in (log.files, log.read):
        with pytest.raises(StoreError, match="move all the time; run again"): call()


def test_threads_that_write_one_batch_at_once_leave_one(log):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(6) as pool: list(pool.map(lambda i: put(log, pages(i + 1), day=f"2026-03-{i % 3 + 1:02}"), range(24)))
    assert len(log.files()) == 1 and len(log.read()) in range(1, 25) and not hidden(log)


def test_a_thousand_small_files_are_read_whole(log):
    made = [Path(log.append(pages(4, brisque=b), "claims", DAY)) for b in (1, 0.5)]
    for i in range(998): (made[0].parent / f"copy{i}.parquet").write_bytes(made[i % 2].read_bytes())
    read = log.read("claims", columns=["uri", "brisque"])
    assert len(read) == 4000 and read["brisque"].sum() == 2000 + 1000


# what goes wrong

def test_a_broken_file_is_named(log):
    uri = log.append(pages(2), "claims", DAY)
    Path(uri).write_bytes(Path(uri).read_bytes()[:200])
    with pytest.raises(StoreError) as error: log.read("claims")
    assert uri in str(error.value) and "\n" not in str(error.value) and "check the file" in str(error.value)


def test_a_root_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError) as error: put(ParquetLog(tmp_path / "file" / "pages"), pages(1))
    assert "\n" not in str(error.value)


def test_foreign_files_are_left_alone(log):
    put(log, pages(2))
    for name in ("README.txt", "model=claims/notes.parquet", "model=claims/date=2026-03-01/.x.parquet", "model=claims/date=2026-03-01/_x.parquet",
                 "model=claims/date=someday/x.parquet", "model=claims/date=2026-03-01/x.parquet.tmp"):
        (Path(log.root) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(log.root) / name).write_text("x")
    assert len(log.read()) == 2


def test_other_tools_read_the_folder(log):
    log.append(pages(2), "claims ü", DAY); log.append(pages(3, tag_scanner="b2"), "forms", "2026-03-02")
    import pyarrow.dataset as ds
    got = ds.dataset(log.root, partitioning="hive", exclude_invalid_files=True).to_table(columns=["model", "date", "brisque"]).to_pandas()
    assert sorted(map(tuple, got[["model", "date"]].drop_duplicates().astype(str).values)) == [("claims ü", "2026-03-01"), ("forms", "2026-03-02")]


# a bucket

def test_the_same_log_in_a_bucket(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log = ParquetLog("s3://scans/home/pages/")
    assert log.read().empty
    log.append(pages(2, brisque=[1, 2]), "claims", DAY)
    with log.open("claims", "2026-03-02", "b") as f:
        f.write(pages(3)); f.write(pages(1, tag_scanner="b2"))
        assert len(log.files()) == 1
    put(log, pages(2), model="a/ü %2F", name="../x y")
    assert len(log.read("claims")) == 6 and log.read("claims")["brisque"].dtype == "float64"
    assert len(log.read("claims", until="2026-03-01", columns=["uri"])) == 2 and log.read("claims", since="2026-03-02").empty
    assert log.read("a/ü %2F")["model"].tolist() == ["a/ü %2F"] * 2
    put(log, pages(5), day="2026-03-09")
    assert len(log.read("claims")) == 7 and len(log.files("claims")) == 2
    keys = [o["Key"] for o in bucket.list_objects_v2(Bucket="scans", Prefix="home/pages/")["Contents"]]
    assert len(keys) == 4 and "home/pages/.moved" in keys and "home/pages/model=a%2F%C3%BC%20%252F/date=2026-03-01/%2E.%2Fx%20y.parquet" in keys
    assert not list(tmp_path.iterdir())


def test_a_bucket_that_is_not_there_is_one_line(bucket):
    log = ParquetLog("s3://no-such-bucket/pages")
    for call in (lambda: log.append(pages(1), "claims", DAY), lambda: log.read()):
        with pytest.raises(StoreError) as error: call()
        assert "\n" not in str(error.value) and "no-such-bucket" in str(error.value)


def test_a_block_that_raises_puts_nothing_into_the_bucket(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log = ParquetLog("s3://scans/other")
    with pytest.raises(KeyError):
        with log.open("claims", DAY, "b") as f: f.write(pages(1)); raise KeyError
    assert log.files() == [] and not list(tmp_path.iterdir())
