"The daily job: the faults of the example this grew from, crashes at every step, late pages, two runs at once"
import socket
import subprocess
import sys
import textwrap
from datetime import timedelta

import cv2
import numpy as np
import pytest
from aiosmtpd.controller import Controller

from ocr_quality import synth
from ocr_quality.core import EmptyBatchError, StoreError, parse_time
from ocr_quality.jobs import monitor
from ocr_quality.jobs.model_settings import set_model
from ocr_quality.jobs.monitor import image_quality
from ocr_quality.records.parquet_log import ParquetLog
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.incident import TOLD
from ocr_quality.tell.incidents import incidents

METRICS = ["brisque", "contrast", "blank"]
SHEETS = [synth.page(seed, dpi=60).gray for seed in range(6)]


def write(folder, day, pages=3, blur=0.0, first=0):
    "One dated folder of small pages"
    (folder / day).mkdir(parents=True, exist_ok=True)
    for n in range(first, first + pages):
        page = synth.degrade(SHEETS[(n + int(day[-2:])) % len(SHEETS)], "noise", 0.02, seed=n + 100 * int(day[-2:]))
        cv2.imwrite(str(folder / day / f"{n}.png"), synth.degrade(page, "blur", blur) if blur else page)


def days(n): return [f"2026-03-{d:02d}" for d in range(1, n + 1)]


@pytest.fixture
def store(home):
    with MetricStore() as s:
        set_model(s, "m", metrics=METRICS, index="brisque", judge=["brisque"], k=4.0, min_points=8)
        yield s


class Inbox:
    def __init__(self): self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(envelope.content)
        return "250 OK"


@pytest.fixture
def relay():
    with socket.create_server(("127.0.0.1", 0)) as s: port = s.getsockname()[1]
    server = Controller(Inbox(), hostname="127.0.0.1", port=port)
    server.start()
    yield server
    server.stop(no_assert=True)


def run(folder, store, **more): return image_quality(str(folder), "m", store=store, **more)


def points(store, metric="brisque"): return store.series("m", metric)


def test_rising_brisque_alerts_and_falling_never(tmp_path, store):
    "BRISQUE is lower-is-better; the example alerted on a decrease. The newest batch is judged, against what preceded it only"
    for day in days(12): write(tmp_path / "up", day, blur=0.15)
    write(tmp_path / "up", "2026-03-13", blur=0.9)
    outcome = run(tmp_path / "up", store)
    assert outcome.batches.verdict.tolist()[-1] == "fail" and (outcome.batches.verdict[:-1] != "fail").all()
    alert = store.alerts("m")
    assert alert.batch.tolist() == ["2026-03-13"] and alert.value.iloc[0] == pytest.approx(points(store).value.iloc[-1])
    write(tmp_path / "up", "2026-03-14", blur=0.0)
    assert run(tmp_path / "up", store, latest=True).batches.verdict.tolist() == ["pass"]
    assert len(store.alerts("m")) == 1


def test_a_short_history_says_so(tmp_path, store):
    for day in days(4): write(tmp_path / "in", day)
    outcome = run(tmp_path / "in", store)
    assert outcome.batches.verdict.tolist() == ["learning"] * 4
    assert "learning" in outcome.batches.reason.iloc[-1] and "8 needed" in outcome.batches.reason.iloc[-1]


def test_a_coloured_page_scores_as_its_rgb_reading(tmp_path):
    "The example handed BGR where RGB is expected"
    from ocr_quality.images.batch import measure_batch
    from ocr_quality.images.brisque import brisque
    rgb = np.stack([SHEETS[0], np.roll(SHEETS[0], 9, 0) // 2, np.full_like(SHEETS[0], 30)], -1)
    cv2.imwrite(str(tmp_path / "page.png"), rgb[..., ::-1])
    luma = np.floor(rgb @ np.array([0.298936021293775, 0.587043074451121, 0.114020904255103]) + 0.5).astype(np.uint8)
    bgr = np.floor(rgb[..., ::-1] @ np.array([0.298936021293775, 0.587043074451121, 0.114020904255103]) + 0.5).astype(np.uint8)
    got = measure_batch(tmp_path, ["brisque"], progress=False).brisque.iloc[0]
    assert got == pytest.approx(brisque(luma), abs=0.2) and abs(got - brisque(bgr)) > 1


def test_blank_and_unreadable_pages_are_counted_rows(tmp_path, store):
    write(tmp_path / "in", "2026-03-01", pages=4)
    cv2.imwrite(str(tmp_path / "in/2026-03-01/blank.png"), np.full_like(SHEETS[0], 255))
    (tmp_path / "in/2026-03-01/broken.jpg").write_bytes(b"no picture")
    (tmp_path / "in/2026-03-01/empty.jpg").write_bytes(b"")
    outcome = run(tmp_path / "in", store)
    row = outcome.batches.iloc[0]
    assert (row.pages, row.unreadable, row.blank) == (7, 2, 1)
    assert sorted(outcome.last_pages.reason.dropna()) == sorted(outcome.last_pages.reason.dropna().unique())
    assert outcome.last_pages.set_index("uri").filter(like="blank.png", axis=0).brisque_reason.iloc[0] == "flat"
    assert points(store, "unreadable_share").value.tolist() == [2 / 7]


def test_a_batch_that_cannot_be_read_fails_without_a_score(tmp_path, store):
    "The example logged -1, which looks excellent"
    (tmp_path / "in/2026-03-01").mkdir(parents=True)
    for n in range(3): (tmp_path / f"in/2026-03-01/{n}.jpg").write_bytes(b"no picture")
    outcome = run(tmp_path / "in", store)
    assert outcome.failed and points(store).empty and points(store, "unreadable_share").value.tolist() == [1.0]
    assert len(store.alerts("m")) == 1 and "3, of which 3 unreadable" in outcome.batches.text.iloc[0]


def test_an_empty_batch_is_an_error_and_no_point(tmp_path, store):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("no page")
    with pytest.raises(EmptyBatchError): run(tmp_path / "in", store)
    assert store.metric_names("m") == [] and not list(ParquetLog(str(tmp_path / "home/pages")).files())


@pytest.fixture
def failing(tmp_path, store):
    "Twelve good days and a bad one"
    for day in days(12): write(tmp_path / "in", day, blur=0.15)
    write(tmp_path / "in", "2026-03-13", blur=0.9)
    return tmp_path / "in"


def state(store, tmp_path):
    rows = ParquetLog(str(tmp_path / "home/pages")).read(model="m")
    return (len(rows), len(store.revisions("m", "brisque")), points(store).value.tolist(), store.alerts("m").alert_id.tolist())


def test_a_second_run_changes_nothing(failing, store, tmp_path):
    run(failing, store)
    before = state(store, tmp_path)
    again = run(failing, store)
    assert set(again.batches.status) == {"unchanged"} and again.failed
    assert state(store, tmp_path) == before


def test_backfill_tells_nobody_even_later(failing, store, tmp_path):
    run(failing, store, backfill=True)
    assert len(points(store)) == 13 and store.alerts("m").empty and not (tmp_path / "home/reports").exists()
    run(failing, store)
    assert store.alerts("m").empty
    run(failing, store, metrics=["brisque", "contrast", "noise"])
    write(failing, "2026-03-13", pages=1, blur=0.9, first=7)
    run(failing, store)
    assert store.alerts("m").empty, "neither another measurement nor late pages make history news"


def test_late_pages_revise_the_point_and_alert_once(failing, store, tmp_path):
    run(failing, store)
    first = points(store).value.iloc[-1]
    write(failing, "2026-03-13", pages=2, blur=0.5, first=3)
    again = run(failing, store, latest=True)
    assert again.batches.pages.tolist() == [5] and points(store).value.iloc[-1] != first
    assert first in store.revisions("m", "brisque").value.tolist()
    assert len(store.alerts("m")) == 1 and len(points(store)) == 13


def test_pages_moved_away_stay_part_of_their_batch(failing, store):
    run(failing, store)
    before = points(store).value.tolist()
    (failing / "2026-03-13/0.png").unlink()
    run(failing, store)
    assert points(store).value.tolist() == before


@pytest.mark.parametrize("step", ["note", "said", "deliver_due", "batch_report", "judge_batch", "batch_values", "explain"])
def test_a_crash_at_any_step_is_made_good_by_the_next_run(failing, store, tmp_path, monkeypatch, step):
    def crash(*args, **kwargs): raise RuntimeError("the lights went out")
    with monkeypatch.context() as m:
        m.setattr(monitor, step, crash)
        with pytest.raises(RuntimeError): run(failing, store)
    run(failing, store)
    assert len(points(store)) == 13 and store.alerts("m").batch.tolist() == ["2026-03-13"]
    assert [e["kind"] for e in store.past("m") if e["kind"] in TOLD] == ["told_opened"]
    assert len(ParquetLog(str(tmp_path / "home/pages")).read(model="m")) == 39
    assert len(store.revisions("m", "brisque")) == 0
    assert (tmp_path / "home/reports/m/2026-03-13.html").exists(), "the alert names the report"


@pytest.mark.parametrize("step", ["note", "batch_report", "judge_batch", "batch_values"])
def test_a_crash_on_a_batch_with_late_pages_is_made_good_too(failing, store, monkeypatch, step):
    "The rows are published first; a run that dies between them and the points must not take the batch for done"
    late = days(13)[-1]
    kept = [p.read_bytes() for p in sorted((failing / late).iterdir())]
    for p in sorted((failing / late).iterdir())[1:]: p.unlink()
    write(failing, late, pages=1, blur=0.15)
    run(failing, store)
    assert store.alerts("m").empty
    for n, data in enumerate(kept): (failing / late / f"late_{n}.png").write_bytes(data)
    def crash(*args, **kwargs): raise RuntimeError("the lights went out")
    with monkeypatch.context() as m:
        m.setattr(monitor, step, crash)
        with pytest.raises(RuntimeError): run(failing, store)
    outcome = run(failing, store)
    assert (outcome.batches.status.iloc[-1], outcome.batches.verdict.iloc[-1]) == ("measured", "fail")
    assert points(store, "pages").value.iloc[-1] == 4 and len(store.alerts("m")) == 1
    assert [e["kind"] for e in store.past("m") if e["kind"] in TOLD] == ["told_opened"]
    assert run(failing, store).batches.status.iloc[-1] == "unchanged"


def test_a_revised_batch_is_told_as_it_is_now(failing, store):
    run(failing, store)
    for n in range(20): (failing / days(13)[-1] / f"broken_{n}.jpg").write_bytes(b"no picture")
    outcome = run(failing, store, latest=True)
    assert "20 unreadable" in outcome.told[-1] and "now critical" in outcome.told[-1]
    assert store.alerts("m").metric.tolist() == ["unreadable_share", "brisque"]
    run(failing, store, latest=True)
    assert len(store.alerts("m")) == 2


def test_points_that_could_not_be_written_are_written_next_time(failing, store, tmp_path, monkeypatch):
    real = MetricStore.put_points
    def dies_on_the_last(self, points):
        if points[0]["batch"] == "2026-03-13": raise StoreError("the store is gone")
        return real(self, points)
    with monkeypatch.context() as m:
        m.setattr(MetricStore, "put_points", dies_on_the_last)
        with pytest.raises(StoreError): run(failing, store)
    assert len(points(store)) == 12 and len(store.alerts("m")) == 1
    run(failing, store)
    assert len(points(store)) == 13 and len(store.alerts("m")) == 1


def test_days_that_fail_on_end_are_one_incident_told_by_batch_time(failing, store, relay):
    "All of it in one run, as if day by day: an opening, a reminder after a week, and the end when the scanner is clean again"
    set_model(store, "m", recipients=[f"mailto://127.0.0.1:{relay.port}?from=scans@example.org&to=team@example.org"], rule="mean", limit=None)
    for day in days(22)[13:]: write(failing, day, blur=0.9)
    for day in days(26)[22:]: write(failing, day, blur=0.15)
    outcome = run(failing, store)
    assert (outcome.batches.verdict == "fail").sum() == 10 == len(store.alerts("m"))
    assert store.deliveries().kind.tolist() == ["told_opened", "reminded", "told_recovered"] and set(store.deliveries().state) == {"sent"}
    assert outcome.batches[outcome.batches.said.map(len) > 0].batch.tolist() == ["2026-03-13", "2026-03-20", "2026-03-25"]
    [incident] = incidents(store).to_dict("records")
    assert (incident["state"], incident["batches"], incident["told"]) == ("recovered", 10, 3)
    assert set(outcome.batches.incident.dropna()) == {incident["incident"]} and "10 batches failed" in outcome.told[-1]
    run(failing, store)
    assert len(relay.handler.mails) == 3


def test_an_absolute_limit_is_critical_and_the_window_a_warning(tmp_path, store):
    (tmp_path / "in/2026-03-01").mkdir(parents=True)
    (tmp_path / "in/2026-03-01/0.jpg").write_bytes(b"no picture")
    run(tmp_path / "in", store)
    assert incidents(store)[["severity", "series"]].values.tolist() == [["critical", "unreadable_share"]]
    set_model(store, "m", severity={"limit": "notice"})
    write(tmp_path / "in", "2026-03-02", blur=0.9)
    (tmp_path / "in/2026-03-03").mkdir(parents=True)
    (tmp_path / "in/2026-03-03/0.jpg").write_bytes(b"no picture")
    run(tmp_path / "in", store)
    assert [e["severity"] for e in store.past("m") if e["kind"] == "joined"] == ["notice"]


def test_the_run_misses_what_did_not_come_also_where_the_source_is_empty(tmp_path, store):
    set_model(store, "m", due="1d", due_grace="1h")
    write(tmp_path / "in", "2026-03-01")
    at = lambda text: parse_time(text)  # noqa: E731
    assert run(tmp_path / "in", store, now=at("2026-03-01T06:00:00Z")).said == []
    assert run(tmp_path / "in", store, now=at("2026-03-02T06:59:00Z")).said == []
    said = run(tmp_path / "in", store, now=at("2026-03-02T07:00:00Z")).said
    assert len(said) == 1 and said[0].startswith("m: no batch, 1 missed since 2026-03-01")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptyBatchError): run(tmp_path / "empty", store, now=at("2026-03-03T07:00:00Z"))
    assert incidents(store)[["series", "batches", "state"]].values.tolist() == [["no_batch", 2, "open"]]
    write(tmp_path / "in", "2026-03-03")
    outcome = run(tmp_path / "in", store, now=at("2026-03-03T08:00:00Z"))
    assert incidents(store).state.tolist() == ["recovered"] and "a batch came again after 2 missed" in outcome.told[0]


JOB = """
import sys
from ocr_quality.jobs.monitor import image_quality
outcome = image_quality(sys.argv[1], 'm', progress=False)
print(outcome.batches.verdict.iloc[-1])
"""


def test_two_processes_at_once_make_one_alert(failing, store):
    jobs = [subprocess.Popen([sys.executable, "-c", JOB, str(failing)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    done = [j.communicate(timeout=120) for j in jobs]
    assert [j.returncode for j in jobs] == [0, 0], done
    assert len(points(store)) == 13 and store.alerts("m").batch.tolist() == ["2026-03-13"]


def test_a_killed_run_leaves_nothing_half_written(failing, store, tmp_path):
    slow = JOB.replace("import sys", "import sys, time").replace("outcome =", textwrap.dedent("""
        import ocr_quality.images.batch as b
        real = b.measure
        def slow(*a, **k):
            print('measuring', flush=True); time.sleep(0.05); return real(*a, **k)
        b.measure = slow
        outcome =""").strip())
    job = subprocess.Popen([sys.executable, "-c", slow, str(failing)], stdout=subprocess.PIPE, text=True)
    for _ in range(10): job.stdout.readline()
    job.kill()
    job.wait()
    rows = ParquetLog(str(tmp_path / "home/pages")).read(model="m")
    assert rows.empty or set(rows.groupby("batch").size()) == {3}
    run(failing, store)
    assert len(points(store)) == 13 and len(ParquetLog(str(tmp_path / "home/pages")).read(model="m")) == 39


def test_another_measurement_measures_again(failing, store):
    run(failing, store)
    before = points(store, "contrast").value.tolist()
    outcome = run(failing, store, metrics=["brisque"], latest=True)
    assert outcome.batches.status.tolist() == ["measured"] and points(store, "contrast").value.tolist() == before


def test_scores_of_another_brisque_model_are_no_history(failing, store, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(monitor, "BRISQUE_MODEL", "somebody-else:000000000000")
        (failing / "2026-03-13").rename(failing.parent / "later")
        run(failing, store)
    (failing.parent / "later").rename(failing / "2026-03-13")
    assert run(failing, store, latest=True).batches.verdict.tolist() == ["learning"]


def test_what_could_not_be_read_is_tried_again(failing, store, monkeypatch):
    (failing / "2026-03-05/broken.jpg").write_bytes(b"no picture")
    monkeypatch.setenv("OCR_QUALITY_MAX_MEGAPIXELS", "0.01")
    small = run(failing, store, backfill=True)
    assert small.batches.unreadable.tolist() == [4 if b == "2026-03-05" else 3 for b in small.batches.batch]
    monkeypatch.delenv("OCR_QUALITY_MAX_MEGAPIXELS")
    assert run(failing, store).batches.unreadable.sum() == 1
    assert set(run(failing, store).batches.status) == {"unchanged"}, "a page that stays broken is no news"


def test_archived_pages_stay_when_the_rest_is_measured_anew(tmp_path, store):
    write(tmp_path / "in", "2026-03-01", pages=4)
    run(tmp_path / "in", store)
    for n in (0, 1): (tmp_path / f"in/2026-03-01/{n}.png").unlink()
    assert run(tmp_path / "in", store, metrics=["brisque", "noise"]).batches.pages.tolist() == [4]


def test_the_dark_third_of_a_batch_is_seen(tmp_path, store):
    "A metric with a middle has two worse tails, and the limit told is the one that was crossed"
    set_model(store, "m", index="brightness", unset=["judge"])
    for day in days(12): write(tmp_path / "in", day)
    write(tmp_path / "in", "2026-03-13")
    for n in range(3, 5): cv2.imwrite(str(tmp_path / f"in/2026-03-13/{n}.png"), SHEETS[n] // 3)
    row = run(tmp_path / "in", store).batches.iloc[-1]
    assert (row.verdict, row.series) == ("fail", "brightness_p10") and row.value < row.limit < 200


def test_what_the_verdict_needs_is_always_measured(tmp_path, store):
    write(tmp_path / "in", "2026-03-01")
    outcome = run(tmp_path / "in", store, metrics=["noise"])
    assert outcome.batches.verdict.tolist() == ["learning"] and {"brisque", "noise", "blank"} <= set(outcome.last_pages.columns)


def test_a_batch_of_nothing_but_blank_pages_fails(tmp_path, store):
    (tmp_path / "in/2026-03-01").mkdir(parents=True)
    for n in range(3): cv2.imwrite(str(tmp_path / f"in/2026-03-01/{n}.png"), np.full_like(SHEETS[0], 250))
    row = run(tmp_path / "in", store).batches.iloc[0]
    assert (row.verdict, row.series, row.blank) == ("fail", "blank_share", 3)


def test_a_window_of_a_week_judges_daily_batches(failing, store):
    set_model(store, "m", window="7d", unset=["min_points"])
    assert run(failing, store).batches.verdict.tolist() == ["learning"] * 4 + ["pass"] * 8 + ["fail"]


def test_a_plugin_metric_can_be_the_index(failing, store, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from ocr_quality.images.quality import metric\n"
                                      "@metric('grey', 'higher', 'grey level', meaning='Mean grey level.')\n"
                                      "def grey(gray): return float(gray.mean())\n")
    monkeypatch.setenv("OCR_QUALITY_PLUGINS", str(tmp_path / "mine.py"))
    set_model(store, "p", index="grey", metrics=["grey"])
    outcome = image_quality(str(failing), "p", store=store)
    assert len(store.series("p", "grey")) == 13 and set(outcome.batches.series) <= {"grey", "grey_p10"}


def test_a_model_name_is_refused_before_anything_is_written(failing, store, tmp_path):
    with pytest.raises(ValueError, match="a/b"): image_quality(str(failing), "a/b", store=store)
    assert not (tmp_path / "home/pages").exists()


def test_an_absolute_limit_holds_from_the_first_batch(tmp_path, store):
    set_model(store, "m", limit=1.0)
    write(tmp_path / "in", "2026-03-01", blur=0.9)
    outcome = run(tmp_path / "in", store)
    assert outcome.failed and outcome.batches.limit.tolist() == [1.0]


# the end of an incident where batches have no verdict of their own

def incident_of(store):
    [row] = incidents(store).to_dict("records")
    return row["state"], row["batches"]


def test_an_incident_ends_though_the_series_never_varies(tmp_path, store):
    "A chart of a constant series with an absolute limit has no variation, never pass"
    set_model(store, "m", rule="chart", limit=60.0, unset=["k", "min_points"])
    start = parse_time("2026-03-01T00:00:00Z")
    for n in range(36):
        folder = tmp_path / "in" / f"{start + timedelta(days=n):%Y-%m-%d}"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "page.png"), synth.degrade(SHEETS[0], "blur", 0.9) if n == 32 else SHEETS[0])
    got = run(tmp_path / "in", store).batches
    assert got.verdict.tolist()[30:] == ["no variation"] * 2 + ["fail"] + ["no variation"] * 3, got[["value", "limit", "verdict", "reason"]].tail(6)
    assert incident_of(store) == ("recovered", 1)
    assert [e["batch"] for e in store.past("m") if e["kind"] == "recovered"] == [got.batch.iloc[-1]], "three that are fine"


@pytest.fixture
def stands(store):
    "How a batch stands in an incident of the series brisque: `stands(brisque's verdict, its limits, verdict of the index contrast)`"
    from types import SimpleNamespace

    import pandas as pd

    from ocr_quality.tell.incident import AlertRules, Seen
    from ocr_quality.tell.incidents import Audience, note
    at = parse_time("2026-03-01T00:00:00Z")
    def stand(verdict, lower, upper, index="pass", series="brisque"):
        note(store, "m", AlertRules(), Audience(), [Seen("b", at, "fail", series, {series: "warning"}, 80.0, 60.0)], now=at)
        rows = {n: pd.Series({"verdict": v, "lower": lo, "upper": up, "value": 1.0}) for n, v, lo, up in
                [("brisque", verdict, lower, upper), ("contrast", index, np.nan, np.nan)]}
        overall = "fail" if "fail" in (verdict, index) else index
        return monitor._standing(SimpleNamespace(store=store, model="m"), rows, overall, "contrast")
    return stand


@pytest.mark.parametrize("verdict, lower, upper, index, expected", [
    ("pass", 1, 60, "pass", "pass"), ("no variation", np.nan, np.nan, "pass", "pass"), ("no variation", np.nan, np.nan, "learning", "pass"),
    ("learning", np.nan, 60, "learning", "pass"), ("learning", np.nan, np.nan, "learning", "learning"), ("learning", 1, np.nan, "pass", "learning"),
    ("missing", np.nan, 60, "pass", "missing"), ("pass", 1, 60, "missing", "pass"), ("fail", 1, 60, "pass", "fail"), ("pass", 1, 60, "fail", "fail")])
def test_what_ends_an_incident_is_what_failed_in_it(stands, verdict, lower, upper, index, expected):
    assert stands(verdict, lower, upper, index) == expected


def test_without_an_incident_or_its_series_the_index_speaks(stands, store):
    assert stands("missing", np.nan, np.nan, "pass", series="noise") == "pass"
    assert stands("pass", np.nan, np.nan, "missing", series="noise") == "missing"


def test_an_incident_while_learning_ends_when_batches_are_within_the_limit(tmp_path, store):
    set_model(store, "m", limit=60.0, min_points=25)
    for n in range(1, 4): write(tmp_path / "in", f"2026-03-{n:02d}")
    write(tmp_path / "in", "2026-03-04", blur=0.9)
    for n in range(5, 8): write(tmp_path / "in", f"2026-03-{n:02d}")
    got = run(tmp_path / "in", store).batches
    assert got.verdict.tolist() == ["learning"] * 3 + ["fail"] + ["learning"] * 3, got[["value", "verdict", "reason"]]
    assert incident_of(store) == ("recovered", 1)
