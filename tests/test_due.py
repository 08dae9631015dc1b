"Which batches should have come: what is told of them, and what is not"
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ocr_quality.core import SettingsError, format_time, parse_time
from ocr_quality.jobs import watch
from ocr_quality.jobs.due import check_due_rule, missed_batches
from ocr_quality.jobs.model_settings import model_settings, set_model
from ocr_quality.jobs.watch import audience_of, check_alerts
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.incident import Seen
from ocr_quality.tell.incidents import incidents, note, story

START = parse_time("2026-03-02T00:00:00Z")  # a Monday


def feed(came):
    "Batches from pairs of their time and the hours after which they were measured"
    times = pd.to_datetime([t for t, _ in came], utc=True)
    arrived = times + pd.to_timedelta([h for _, h in came], "h")
    return pd.DataFrame({"batch": [f"{t:%Y-%m-%dT%H}" for t in times], "time": times, "arrived": arrived})


def daily(n, hours=6.5, gone=()): return [(START + timedelta(days=k), hours) for k in range(n) if k not in gone]
def missed(came, now, due="auto", **more): return missed_batches(feed(came), due, parse_time(now), **more)
def names(*args, **more): return [m.name for m in missed(*args, **more)]


@pytest.mark.parametrize("due, first", [("auto", "2026-04-01"), ("1d", "2026-04-01T06:30:00Z"), ("0 6 * * *", "2026-04-01T06:00:00Z")])
def test_a_batch_dated_in_the_future_hides_nothing(due, first):
    "The feed stops after 31 March; what came on 1 April bears the next year"
    mistaken = (parse_time("2027-04-01T00:00:00Z"), -364 * 24)
    for day in range(1, 8):
        found = missed([*daily(30), mistaken], f"2026-04-0{day}T23:00:00Z", due)
        assert len(found) == day and found[0].name == first and not any(m.over for m in found), day
        assert {m.last for m in found} == {"2026-03-31T00"}


def test_a_batch_of_tomorrow_counts():
    assert names([*daily(31)], "2026-04-01T23:00:00Z") == names(daily(32), "2026-04-01T12:40:00Z") == []


def test_a_length_of_time_may_be_written_with_spaces():
    assert check_due_rule(" 1 d ") == "1d" and check_due_rule("0  6 * *  1-5") == "0 6 * * 1-5"
    assert names(daily(3), "2026-03-05T12:30:00Z", "1 d") == names(daily(3), "2026-03-05T12:30:00Z", "1d") == ["2026-03-05T06:30:00Z"]


@pytest.mark.parametrize("due", ["1s", "30 s", "9m", "0.1h"])
def test_what_comes_all_the_time_is_not_watched_batch_by_batch(due):
    with pytest.raises(SettingsError, match="expected batches to be due every 10m or more rarely, got .*; state a longer time"): check_due_rule(due)


def test_a_batch_beyond_its_grace_is_late_and_answers_no_other_call():
    came = [*daily(35), (START + timedelta(days=35), 13)]  # Monday 6 April at one in the afternoon, and nothing on Tuesday
    assert [names(came[:-1], f"2026-04-06T{at}:00Z", "0 6 * * *") for at in ("11:59", "12:00")] == [[], ["2026-04-06T06:00:00Z"]]
    found = missed(came, "2026-04-07T12:00:00Z", "0 6 * * *")
    assert [(m.name, m.over) for m in found] == [("2026-04-06T06:00:00Z", True), ("2026-04-07T06:00:00Z", False)]


def test_a_late_batch_that_comes_with_the_next_one_answers_no_other_call():
    came = [*daily(35), (START + timedelta(days=35), 32), (START + timedelta(days=36), 10)]  # both on Tuesday morning, none on Wednesday
    assert names(came, "2026-04-08T12:00:00Z", "0 6 * * *") == ["2026-04-06T06:00:00Z", "2026-04-08T06:00:00Z"]


def test_a_gap_of_an_hourly_feed_has_its_own_hours():
    came = [(START + timedelta(hours=h), 0.1) for h in range(40) if not 27 <= h <= 32]
    assert names(came, "2026-03-03T16:00:00Z", "0 * * * *") == [f"2026-03-03T0{h}:00:00Z" for h in range(3, 9)]


def test_batches_of_the_evening_answer_the_call_of_the_morning():
    "One is missing: it is missed in the morning, once, and the next one does not count for it"
    evenings = lambda *gone: [(START + timedelta(days=k, hours=20), 0.1) for k in range(20) if k not in gone]  # noqa: E731
    assert names(evenings(), "2026-03-22T05:00:00Z", "0 6 * * *") == []
    assert names(evenings(15), "2026-03-22T05:00:00Z", "0 6 * * *") == ["2026-03-18T06:00:00Z"]


def test_a_friday_measured_on_saturday_answers_monday_also_after_a_holiday():
    working = lambda *gone: [c for c in daily(19, 30.5, gone) if c[0].weekday() < 5]  # noqa: E731
    assert names(working(), "2026-03-21T12:00:00Z", "0 6 * * 1-5") == []
    assert names(working(10), "2026-03-16T23:00:00Z", "0 6 * * 1-5") == ["2026-03-13T06:00:00Z"]


@pytest.mark.parametrize("day, due", [
    ("2026-10-25", "2026-10-25T05:30:00Z"), ("2026-10-26", "2026-10-26T05:30:00Z"),
    ("2026-03-29", "2026-03-29T04:30:00Z"), ("2026-03-30", "2026-03-30T04:30:00Z")])
def test_a_job_runs_by_the_clock_on_the_wall(day, due):
    "At six in Zurich, also on the days on which the clocks change"
    zone, last = ZoneInfo("Europe/Zurich"), datetime.fromisoformat(day)
    days = [last - timedelta(days=k) for k in range(1, 36)]
    came = pd.DataFrame({"batch": [f"{d:%Y-%m-%d}" for d in days], "time": [d.replace(tzinfo=ZoneInfo("UTC")) for d in days],
                         "arrived": [parse_time(d.replace(hour=6, tzinfo=zone)) for d in days]})
    look = lambda now: missed_batches(came, "auto", now, timedelta(minutes=30), zone.key)  # noqa: E731
    assert look(parse_time(due) - timedelta(seconds=1)) == [] and [m.due for m in look(parse_time(due))] == [parse_time(due)]


CRONS = {"0 8 * * *": timedelta(days=1), "0 * * * *": timedelta(hours=1), "0 */4 * * *": timedelta(hours=4)}
EIGHT = START + timedelta(hours=8)  # When each of them calls


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(CRONS)), st.sampled_from([0.5, 2, 6, 30]), st.lists(st.none() | st.floats(0, 1), max_size=40), st.integers(0, 30))
def test_what_came_within_its_grace_is_not_missed_and_the_rest_is(cron, hours, delays, later):
    "Each call has a batch, at a part of the grace after it, or none"
    grace, now = timedelta(hours=hours), EIGHT + (len(delays) - 1) * CRONS[cron] + timedelta(hours=later)
    fires = [EIGHT + k * CRONS[cron] for k in range(len(delays) + 1)]
    came = [(f, hours * d) for f, d in zip(fires, [0.0, *delays], strict=True) if d is not None]
    frame = feed(came)
    frame = frame[frame["arrived"] <= now]
    gone = [f for f, d in zip(fires, [0.0, *delays], strict=True) if d is None and f + grace > now - timedelta(days=7)]
    found = [parse_time(m.name) for m in missed_batches(frame, cron, now, grace)]
    assert [f for f in found if f <= fires[-1]] == [f for f in gone if f + grace <= now]


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(CRONS)), st.sampled_from([0.5, 2, 6]), st.lists(st.floats(0, 160), min_size=1, max_size=60))
def test_a_call_with_no_batch_far_and_wide_is_missed(cron, hours, at):
    step, grace, now = CRONS[cron], timedelta(hours=hours), START + timedelta(hours=166)
    there = sorted(START + timedelta(hours=h) for h in at)
    frame = pd.DataFrame({"batch": [f"b{k}" for k in range(len(there))], "time": there, "arrived": there})
    found = {m.name for m in missed_batches(frame, cron, now, grace)}
    fires = [EIGHT + k * step for k in range(-8, 170) if there[0] < EIGHT + k * step <= now - grace]
    assert {format_time(f) for f in fires if not any(f - step <= t <= f + step + grace for t in there)} <= found


# in the store

def put(store, n, model="m", day=None):
    "Points of batch n, as a backfill writes them"
    day = day or START + timedelta(days=n)
    store.put_points([dict(point_id=f"{model}{n}", model=model, metric="pages", value=8, time=day, batch=f"{day:%Y-%m-%d}")])
    return day


def comes(store, n, hours=6.0, model="m", day=None, verdict="learning"):
    "Batch n arrives so many hours after midnight of day n"
    dated, rules = put(store, n, model, day), model_settings(store, model)
    one = Seen(f"{dated:%Y-%m-%d}", dated, verdict, "brisque", {"brisque": "critical"} if verdict == "fail" else {})
    return note(store, model, rules.alert_rules(), audience_of(rules), [one], now=START + timedelta(days=n, hours=hours))


def look(store, n, hours): return check_alerts(store, now=START + timedelta(days=n, hours=hours), deliver=False)


@pytest.fixture
def store(tmp_path):
    with MetricStore(f"sqlite:///{tmp_path}/store.db") as s:
        set_model(s, "m", recipients=["json://127.0.0.1:9/x"])
        yield s


def test_a_folder_of_the_next_year_is_one_incident_and_not_seven(store):
    for n in range(30): comes(store, n)
    comes(store, 30, day=parse_time("2027-04-01T00:00:00Z"))
    for n in range(30, 38): look(store, n, 20)
    assert store.deliveries()["kind"].tolist() == ["told_opened", "reminded"] and incidents(store).state.tolist() == ["open"]


def test_late_then_missing_is_missed_twice(store):
    set_model(store, "m", due="0 6 * * *")
    for n in range(10): comes(store, n)
    found = [(n, h, k) for n, h in ((10, 11), (10, 12), (10, 14), (11, 12)) for k in ([*comes(store, 10, 13)] if (n, h) == (10, 14) else []) or
             look(store, n, h).to_dict("records")]
    assert [(n, h, e["kind"]) for n, h, e in found if e["kind"] in ("opened", "told_opened", "told_recovered", "told_reopened")] == [
        (10, 12, "opened"), (10, 12, "told_opened"), (10, 14, "told_recovered"), (11, 12, "told_reopened")]


def test_a_missing_batch_that_is_filled_in_ends_the_wait(store):
    for n in range(30): comes(store, n)
    assert look(store, 30, 12).kind.tolist() == ["opened", "told_opened"]
    put(store, 3)
    assert look(store, 30, 13).empty, "not what came before"
    put(store, 400)
    assert look(store, 30, 13).empty, "and not what is dated in the future"
    put(store, 30)
    assert look(store, 30, 14).kind.tolist() == ["passed", "recovered", "told_recovered"] and look(store, 30, 15).empty
    [last] = [m["title"] for m in story(store, incidents(store).incident[0])["messages"].to_dict("records")][1:]
    assert last == "m: a batch came again after 1 missed"


def test_what_is_filled_in_ends_the_wait_of_a_model_that_waits_no_longer(store):
    for n in range(30): comes(store, n)
    look(store, 30, 12)
    set_model(store, "m", due="off")
    assert look(store, 30, 13).empty
    put(store, 30)
    assert incidents(store).state.tolist() == ["open"]
    look(store, 30, 14)
    assert incidents(store).state.tolist() == ["recovered"]


@pytest.mark.parametrize("error", [ValueError("no such column"), KeyError("batch"), SettingsError("expected another due")])
def test_a_look_that_fails_keeps_no_message_back(store, monkeypatch, caplog, error):
    "Quiet hours hold the message of an incident of quality; when they end it is told, whatever happens to the search for missed batches"
    def breaks(*_): raise error
    set_model(store, "m", quiet_hours="20:00-07:00", quiet_unless="critical")
    monkeypatch.setattr(watch, "missed_batches", breaks)
    set_model(store, "m", quiet_unless="critical", severity={"other": "warning"})
    one = Seen("2026-03-02", START, "fail", "brisque", {"brisque": "warning"}, 42.5)
    rules = model_settings(store, "m")
    note(store, "m", rules.alert_rules(), audience_of(rules), [one], now=START + timedelta(hours=3))
    assert store.deliveries().empty
    assert look(store, 0, 8).kind.tolist() == ["told_opened"]
    assert "whether a batch of m is missing could not be told" in caplog.text


@pytest.mark.parametrize("breaks", ["settings", "anything"])
def test_what_one_model_lacks_silences_no_other(store, monkeypatch, caplog, breaks):
    "`a` and `z` are broken, `m` in between has a batch missing, and what is due is delivered"
    tried, real = [], watch.check_model
    def check(store, model, now): return real(store, model, now) if model == "m" else {}["no such thing"]
    for n in range(30): comes(store, n)
    for broken in "az":
        put(store, 0, broken)
        store.put_model(broken, {"window": "often"} if breaks == "settings" else {})
    if breaks == "anything": monkeypatch.setattr(watch, "check_model", check)
    monkeypatch.setattr(watch, "deliver_due", lambda *args: tried.append(args))
    found = check_alerts(store, now=START + timedelta(days=30, hours=12))
    assert found[["model", "kind"]].values.tolist() == [["m", "opened"], ["m", "told_opened"]] and len(tried) == 1
    assert all(f"the alerts of {broken} could not be checked" in caplog.text for broken in "az")
    assert ("unexpected KeyError" in caplog.text) == (breaks == "anything")
