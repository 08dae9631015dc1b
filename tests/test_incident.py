"Incidents, the policy of telling people, quiet hours and batches that were due: pure functions in tables and by hypothesis, then the store"
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes

import pandas as pd
import pytest
from aiosmtpd.controller import Controller
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ocr_quality.core import AlertError, SettingsError, parse_time, utc_now
from ocr_quality.jobs.due import missed_batches
from ocr_quality.jobs.model_settings import model_settings, set_model
from ocr_quality.jobs.watch import audience_of, check_alerts
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.alert import deliver_due, open_deliveries, read_message, retry_deliveries
from ocr_quality.tell.incident import NO_BATCH, SEVERITIES, TOLD, AlertRules, Seen, incidents_of, observe
from ocr_quality.tell.incidents import Audience, acknowledge, close, find_incident, held_messages, incidents, mute, muted, note, said, story, unmute
from ocr_quality.tell.notify import Sent
from ocr_quality.tell.policy import tell
from ocr_quality.tell.quiet import quiet_until, read_quiet

START = parse_time("2026-03-02T00:00:00Z")  # a Monday
WORDS = {"f": "fail", "p": "pass", "l": "learning", "n": "no variation", "m": "missing", "c": "fail", "i": "fail"}
LEVELS = {"f": "warning", "c": "critical", "i": "notice"}
RULES = AlertRules()


def day(n): return START + timedelta(days=n)


def seen(n, letter, series="brisque", **more):
    "Batch n: f fails, c critically, i is a notice, p passes, l n m say nothing"
    failing = {series: LEVELS[letter]} if letter in LEVELS else {}
    return Seen(f"b{n:03}", day(n), WORDS[letter], series, failing, 42.5 + n, 32.5, {series: 42.5 + n}, **more)


def step(events, one, rules, now):
    "What a run does with a batch"
    new = observe(events, one, rules, "m", now) if one else []
    return new + tell(events + new, rules, now)


def play(letters, rules=RULES, hour=9, past=()):
    "A batch a day, each run at `hour`"
    events = list(past)
    for n, letter in enumerate(letters): events += step(events, seen(n, letter), rules, day(n) + timedelta(hours=hour))
    return events


def kinds(events): return [e["kind"] for e in events]
def told(events): return [(e["kind"], e["batch"]) for e in events if e["kind"] in TOLD]
def told_kinds(events): return [k for k, _ in told(events)]


# one incident

STORIES = [
    ("pppp", []),
    ("lnm", []),
    ("f", ["told_opened"]),
    ("ffff", ["told_opened"]),
    ("fppf", ["told_opened"]),
    ("fppp", ["told_opened", "told_recovered"]),
    ("fplnmpp", ["told_opened", "told_recovered"]),
    ("flmnl", ["told_opened"]),
    ("fppppppppp", ["told_opened", "told_recovered"]),
    ("ffffffff", ["told_opened", "reminded"]),
    ("f" * 15, ["told_opened", "reminded", "reminded"]),
    ("fppppppf", ["told_opened", "told_recovered", "told_reopened"]),
    ("fpppfppp", ["told_opened", "told_recovered", "told_reopened", "told_recovered"]),
    ("fppp" + "p" * 8 + "f", ["told_opened", "told_recovered", "told_opened"]),
    ("fc", ["told_opened", "told_raised"]),
    ("ccf", ["told_opened"]),
    ("cff" + "pppf", ["told_opened", "told_recovered", "told_reopened"]),
    ("ifc", ["told_opened", "told_raised", "told_raised"]),
    ("i" * 20, ["told_opened"]),
    ("ippp", ["told_opened", "told_recovered"]),
]


@pytest.mark.parametrize("letters, expected", STORIES, ids=[s for s, _ in STORIES])
def test_what_people_are_told(letters, expected): assert told_kinds(play(letters)) == expected


def test_whatever_series_fails_it_is_one_incident():
    events = []
    for n, name in enumerate(["brisque", "contrast", "unreadable_share"]): events += step(events, seen(n, "f", name), AlertRules(), day(n))
    [incident] = incidents_of(events)
    assert incident.series == {"brisque", "contrast", "unreadable_share"} and len(incident.failing) == 3


@pytest.mark.parametrize("after", [1, 2, 5])
def test_how_many_must_pass_is_a_setting(after):
    rules = AlertRules(recover_after=after)
    assert told_kinds(play("f" + "p" * (after - 1), rules)) == ["told_opened"]
    assert told_kinds(play("f" + "p" * after, rules)) == ["told_opened", "told_recovered"]


def test_a_history_run_in_one_go_is_told_as_day_by_day():
    letters, rules = "p" * 5 + "f" * 16 + "ppp" + "pp" + "fff", AlertRules()
    daily, at_once, now = play(letters), [], parse_time("2027-01-01T12:00:00Z")
    for n, letter in enumerate(letters): at_once += step(at_once, seen(n, letter), rules, now)
    assert told(at_once) == told(daily) == [("told_opened", "b005"), ("reminded", "b012"), ("reminded", "b019"),
                                            ("told_recovered", "b020"), ("told_reopened", "b026")]


def test_late_batches_join_what_they_belong_to():
    for n, expected in [(1, []), (0, ["reopened", "recovered", "told_over"]), (2, ["reopened", "told_reopened"])]:
        assert kinds(step(play("pfppp"), seen(n, "f"), RULES, day(9))) == expected, n
    assert kinds(step(play("fff"), seen(-3, "f"), RULES, day(9))) == ["joined"]
    assert kinds(step(play("fff"), seen(-30, "f"), RULES, day(9))) == ["opened", "told_opened"]


REVISED = [  # batches so far, batch that is seen again, what people are told of it
    ("ffppp", 4, "f", ["told_reopened"]),
    ("ffppp", 2, "f", ["told_reopened"]),
    ("fpppp", 3, "f", ["told_reopened"]),
    ("fpppp", 4, "f", ["told_reopened"]),
    ("fpfppp", 1, "f", ["told_over"]),
    ("ffppp", 4, "c", ["told_reopened"]),
    ("fpppfppp", 6, "f", ["told_reopened"]),
    ("fpppfppp", 3, "f", ["told_over"]),
    ("ffpp", 3, "f", []),  # nobody was told that it is over
]


@pytest.mark.parametrize("letters, n, letter, expected", REVISED, ids=[f"{s}-{n}{c}" for s, n, c, _ in REVISED])
def test_a_batch_that_fails_after_all_is_told_once(letters, n, letter, expected):
    events = play(letters)
    events += step(events, seen(n, letter), RULES, day(20))
    assert told_kinds(events)[len(told(play(letters))):] == expected
    again = step(events, seen(n, letter), RULES, day(21))
    assert again == [] and len({e["event_id"] for e in events}) == len(events)
    [incident] = incidents_of(events)
    assert incident.open == (expected != ["told_over"]) and f"b{n:03}" in [e["batch"] for e in incident.failing]


def test_one_batch_back_and_forth_is_told_each_time():
    events = []
    for n, letter in enumerate("fpfpf"): events += step(events, seen(0, letter), RULES, day(n))
    assert told_kinds(events) == ["told_opened", "told_recovered", "told_reopened", "told_recovered", "told_reopened"]
    for n, letter in enumerate("ppp", 1): events += step(events, seen(n, letter), RULES, day(n + 5))
    assert told_kinds(events)[5:] == ["told_recovered"] and not incidents_of(events)[0].open


def test_a_failing_batch_that_comes_late_into_what_is_over_is_told():
    events = step([], seen(0, "f"), RULES, day(0))
    for n in (1, 3, 4): events += step(events, seen(n, "p"), RULES, day(n))
    new = step(events, seen(2, "f"), RULES, day(9))
    assert told_kinds(new) == ["told_reopened"], "two passed after it, three are needed"
    assert told_kinds(step(events + new, seen(5, "p"), RULES, day(9))) == ["told_recovered"]


def test_a_late_failure_in_what_is_over_waits_for_a_mute_like_the_others():
    events = [*play("fpfppp"), person("muted", day(6), until=day(9))]
    events += step(events, seen(1, "f"), RULES, day(7))
    assert kinds(events)[-1] == "held" and tell(events, RULES, day(8)) == []


def closes(events, at): return [person("closed", at, incidents_of(events)[-1].id)]


def test_what_was_closed_is_told_to_nobody_and_never_comes_back():
    events = play("ff")
    events += closes(events, day(2))
    assert [(i.open, i.closed, i.ended) for i in incidents_of(events)] == [(False, True, day(2))]
    assert tell(events, AlertRules(escalate_after=timedelta(hours=1)), day(90)) == []
    assert step(events, seen(1, "f"), RULES, day(3)) == [], "run again"
    events += step(events, seen(2, "f"), RULES, day(3))
    events += step(events, seen(3, "f"), RULES, day(3))
    assert kinds(events)[-3:] == ["opened", "told_opened", "joined"] and [i.open for i in incidents_of(events)] == [False, True]
    for n in (4, 5, 6): events += step(events, seen(n, "p"), RULES, day(n))
    assert told_kinds(events)[-1] == "told_recovered" and [i.closed for i in incidents_of(events)] == [True, False]


def test_the_batch_that_opened_what_was_closed_may_open_another():
    events = play("ff")
    events += step(events, seen(0, "p"), RULES, day(2))
    events += closes(events, day(3))
    events += step(events, seen(0, "f"), RULES, day(4))
    assert kinds(events)[-2:] == ["opened", "told_opened"] and len({i.id for i in incidents_of(events)}) == 2
    events += step(events, seen(2, "f"), RULES, day(5))
    assert kinds(events)[-1] == "joined" and len({e["event_id"] for e in events}) == len(events)


# people

def person(kind, at, incident=None, series=None, until=None, who="ana", reason="why"):
    return {"event_id": f"{kind}{at}", "kind": kind, "incident": incident, "series": series, "batch": None, "severity": None, "time": None, "at": at,
            "who": who, "reason": reason, "detail": {"until": until and until.isoformat()}}


def test_an_acknowledgement_stops_reminders_until_it_expires():
    first = play("f")
    ack = person("acknowledged", day(1), first[0]["incident"], until=day(10))
    events = [*first, ack]
    for n in range(1, 30): events += step(events, seen(n, "f"), AlertRules(), day(n) + timedelta(hours=9))
    assert told(events) == [("told_opened", "b000"), ("reminded", "b010"), ("reminded", "b017"), ("reminded", "b024")]
    forever = [*first, ack | {"detail": {"until": None}}]
    for n in range(1, 30): forever += step(forever, seen(n, "f"), AlertRules(), day(n) + timedelta(hours=9))
    assert told_kinds(forever) == ["told_opened"]
    assert told_kinds(step(forever, seen(30, "c"), AlertRules(), day(30))) == ["told_raised"], "worse is news all the same"


def test_an_acknowledgement_ends_with_the_incident():
    events = play("f")
    events.append(person("acknowledged", day(1), events[0]["incident"]))
    for n, letter in enumerate("pppf" + "f" * 8, 1): events += step(events, seen(n, letter), AlertRules(), day(n) + timedelta(hours=9))
    assert told_kinds(events) == ["told_opened", "told_recovered", "told_reopened", "reminded"]


def test_nobody_answers_and_others_are_told_once():
    rules = AlertRules(escalate_after=timedelta(days=2))
    events = play("f", rules)
    at = events[-1]["at"]
    assert told_kinds(tell(events, rules, at + timedelta(hours=47))) == []
    events += tell(events, rules, at + timedelta(hours=48))
    assert told_kinds(events) == ["told_opened", "escalated"]
    for n in range(1, 5): events += step(events, seen(n, "f"), rules, day(n + 3))
    assert told_kinds(events) == ["told_opened", "escalated"]


def test_an_acknowledgement_that_expires_gives_the_time_again():
    rules = AlertRules(escalate_after=timedelta(days=2))
    events = play("f", rules)
    events.append(person("acknowledged", day(1), events[0]["incident"], until=day(5)))
    assert [told_kinds(tell(events, rules, day(n))) for n in (4, 5, 6, 7)] == [[], [], [], ["escalated"]]


def test_a_muted_series_is_silent_and_another_one_is_not():
    past = [person("muted", day(0), series="brisque", until=day(30))]
    events = play("fffc", past=past)
    assert told_kinds(events) == [] and [e["reason"] for e in events if e["kind"] == "held"] == [f"muted until {day(30).isoformat()}"]
    events += step(events, seen(5, "i", "contrast"), AlertRules(), day(5))
    assert told(events) == [("told_opened", "b005")] and events[-1]["severity"] == "notice", "as bad as what is not muted"
    assert told_kinds(tell(events, AlertRules(), day(30))) == ["told_raised"]


def test_what_was_told_before_a_mute_is_closed_after_it():
    events = play("f")
    events.append(person("muted", day(1), until=day(20)))
    for n in range(1, 10): events += step(events, seen(n, "p"), AlertRules(), day(n))
    assert told_kinds(events) == ["told_opened"]
    assert told_kinds(tell(events, AlertRules(), day(20))) == ["told_recovered"]


def test_unmuted_the_open_incident_is_told():
    events = play("ff", past=[person("muted", day(0), until=day(30))])
    assert told(events) == []
    events.append(person("unmuted", day(2)))
    assert told(tell(events, AlertRules(), day(2))) == [("told_opened", "b001")]


NIGHT = AlertRules(quiet=read_quiet("20:00-07:00, sat, sun"), recover_after=2)


def test_held_at_night_and_told_once_in_the_morning():
    events = play("fff", NIGHT, hour=22)
    assert told(events) == []
    events += tell(events, NIGHT, day(3) + timedelta(hours=6, minutes=59))
    assert told(events) == []
    events += tell(events, NIGHT, day(3) + timedelta(hours=7))
    assert told(events) == [("told_opened", "b002")]
    assert tell(events, NIGHT, day(3) + timedelta(hours=8)) == []


def test_critical_is_told_at_night_and_its_end_in_the_morning():
    events = play("cpp", NIGHT, hour=3)
    assert told(events) == [("told_opened", "b000")]
    assert told_kinds(tell(events, NIGHT, day(2) + timedelta(hours=7))) == ["told_recovered"]


def test_told_back_and_forth_in_one_night_is_no_news():
    events = play("f", NIGHT, hour=9)
    for n, (letter, minutes) in enumerate([("p", 0), ("p", 1), ("f", 2)], 1):
        events += step(events, seen(n, letter), NIGHT, day(3) + timedelta(hours=23, minutes=minutes))
    assert kinds(events).count("recovered") == kinds(events).count("reopened") == 1
    assert tell(events, NIGHT, day(4) + timedelta(hours=7)) == [], "people were told it is open, and it is"


def test_a_message_is_about_the_batch_that_makes_the_case():
    events = play("ff")
    events += step(events, Seen("late", day(-1), "fail", "unreadable_share", {"unreadable_share": "critical"}, 0.9, 0.2), RULES, day(3))
    assert [(e["kind"], e["batch"]) for e in events if e["kind"] in TOLD] == [("told_opened", "b000"), ("told_raised", "late")]


def test_what_is_let_through_a_mute_is_not_about_the_muted_series():
    past = [person("muted", day(0), series="brisque", until=day(30))]
    events = play("c", past=past)
    events += step(events, seen(1, "i", "contrast"), RULES, day(1))
    events += step(events, seen(2, "c"), RULES, day(2))
    assert [(e["kind"], e["batch"], e["series"]) for e in events if e["kind"] in TOLD] == [("told_opened", "b001", "contrast")]


def test_a_batch_that_fails_by_another_series_after_all_is_news():
    past = [person("muted", day(0), series="brisque", until=day(30))]
    events = play("f", past=past)
    assert told(events) == []
    again = seen(0, "f", "contrast")
    events += step(events, again, RULES, day(1))
    assert [(e["kind"], e["series"]) for e in events if e["kind"] in TOLD] == [("told_opened", "contrast")]
    assert step(events, again, RULES, day(1)) == []


def test_a_fault_that_comes_back_is_escalated_again():
    rules = AlertRules(escalate_after=timedelta(days=2))
    events = play("ffff" "ppp" "ffff", rules)
    assert told_kinds(events) == ["told_opened", "escalated", "told_recovered", "told_reopened", "escalated"]


@pytest.mark.parametrize("name", ["closed", "recovered", "raised", "told_open", "held", "escalated"])
def test_a_batch_may_be_called_anything(name):
    one = lambda n, letter: replace(seen(n, letter), batch=name if n == 0 else f"b{n}")  # noqa: E731
    events = []
    for n, letter in enumerate("ffpppfffppp"): events += step(events, one(n, letter), AlertRules(escalate_after=timedelta(days=1)), day(n))
    assert len({e["event_id"] for e in events}) == len(events)
    assert kinds(events).count("recovered") == 2 and incidents_of(events)[0].episode == 1


def test_raised_is_noted_once_an_episode():
    events = play("ffff")
    for n, letter in ((4, "c"), (4, "p"), (5, "c"), (6, "f"), (7, "c")): events += step(events, seen(n, letter), AlertRules(), day(n))
    assert kinds(events).count("raised") == 1 and len({e["event_id"] for e in events}) == len(events)


# whatever happens

letters = st.text("fffcipplnm", max_size=40)
rule_sets = st.builds(AlertRules, cooldown=st.sampled_from([timedelta(days=d) for d in (1, 7)]), recover_after=st.integers(1, 4),
                      escalate_after=st.sampled_from([None, timedelta(hours=30)]),
                      quiet=st.sampled_from([None, read_quiet("20:00-07:00"), read_quiet("sat, sun"), read_quiet("06:00-23:00, sun, Asia/Tokyo")]),
                      quiet_unless=st.sampled_from(SEVERITIES))


@hypothesis_settings(max_examples=150, deadline=None)
@given(letters, rule_sets, st.lists(st.tuples(st.integers(0, 39), st.integers(0, 23), st.sampled_from([None, None, "f", "c", "p"])), max_size=25),
       st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12), st.sampled_from([None, "brisque"])), max_size=3))
def test_whatever_the_order_of_reruns(batches, rules, again, mutes):
    "Nothing twice, nothing in quiet hours or under a mute, one end an incident's episode, and in the end people know what is so"
    events, at, newest = [], START, {}
    plan = [(n, n * 24 + 9, letter) for n, letter in enumerate(batches)]
    plan += [(n, n * 24 + 9 + h, letter or batches[n]) for n, h, letter in again if n < len(batches)]
    people = sorted([(h, (n, s), None) for n, h, s in plan] + [(d * 24, None, (d, long, series)) for d, long, series in mutes], key=lambda x: x[0])
    for hours, n, silenced in people:
        at = START + timedelta(hours=hours)
        if silenced: events.append(person("muted", at, series=silenced[2], until=at + timedelta(days=silenced[1])))
        else: events += step(events, seen(*n), rules, at)
    ids = [e["event_id"] for e in events if e["incident"]]
    assert len(ids) == len(set(ids))
    for e in events:
        if e["kind"] == "muted": newest[e["series"]] = parse_time(e["detail"]["until"])
        if e["kind"] not in TOLD: continue
        assert not any(e["at"] < until for until in newest.values()), "only one series fails here, so each mute silences it"
        assert quiet_until(rules.quiet, e["at"]) is None or SEVERITIES.index(e["severity"]) >= SEVERITIES.index(rules.quiet_unless)
    for incident in incidents_of(events):
        ends = [e for e in incident.events if e["kind"] in ("told_recovered", "told_over")]
        assert len(ends) <= sum(e["kind"] == "recovered" for e in incident.events)
        words = [e["kind"] for e in incident.events if e["kind"] in TOLD and e["kind"] != "escalated"]
        for a, b in zip(words, words[1:]):
            assert (b in ("told_opened", "told_reopened", "told_over")) == (a in ("told_recovered", "told_over")), words
        assert sum(e["kind"] == "escalated" for e in incident.events) <= 1 + incident.episode
    later = max([at, *newest.values()]) + timedelta(days=30)
    while quiet := quiet_until(rules.quiet, later): later = quiet
    for _ in range(4): events += tell(events, rules, later)
    assert tell(events, rules, later) == [], "asking again tells nothing"
    for incident in incidents_of(events):
        words = [e["kind"] for e in incident.events if e["kind"] in TOLD and e["kind"] != "escalated"]
        if incident.open: assert words and words[-1] not in ("told_recovered", "told_over")
        elif words: assert words[-1] in ("told_recovered", "told_over")


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.permutations(range(10)), st.lists(st.sampled_from("fp"), min_size=10, max_size=10))
def test_batches_in_any_order_are_each_counted_once(order, what):
    events = []
    for n in [*order, *order[::-1]]: events += step(events, seen(n, what[n]), AlertRules(recover_after=20), day(30))
    failing = [e["batch"] for i in incidents_of(events) for e in i.failing]
    assert sorted(failing) == [f"b{n:03}" for n in range(10) if what[n] == "f"]


quiet_texts = st.sampled_from(["20:00-07:00", "20:00-07:00, sat, sun", "sat-mon", "00:00-06:30", "12:00-13:00, Asia/Kolkata",
                               "22:00-02:30, Europe/Zurich", "01:30-03:30, fri, America/New_York"])


@hypothesis_settings(max_examples=200, deadline=None)
@given(quiet_texts, st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)))
def test_quiet_lasts_until_it_ends_and_no_longer(text, now):
    quiet, now = read_quiet(text), now.replace(tzinfo=UTC)
    assert read_quiet(str(quiet)) == quiet
    end = quiet_until(quiet, now)
    if end is None: return
    assert now < end <= now + timedelta(days=5) and quiet_until(quiet, end) is None
    for part in (0.0, 0.3, 0.7, 0.999): assert quiet_until(quiet, now + part * (end - now)) == end


# batches that were due

def feed(days, hour=6.0, live=True, **more):
    times = pd.to_datetime(list(days), utc=True)
    names = [f"{t:%Y-%m-%d}" if t.hour == 0 else f"{t:%Y-%m-%dT%H}" for t in times]
    return pd.DataFrame({"batch": names, "time": times, "arrived": times + pd.Timedelta(hours=hour) if live else pd.NaT})


def missed(frame, now, due="auto", **more): return [m.name for m in missed_batches(frame, due, parse_time(now), **more)]


DAILY = [START + timedelta(days=n) for n in range(35)]  # until Sunday 5 April
WORKING = [d for d in DAILY if d.weekday() < 5]
DUE = {
    "daily, nothing yet": (DAILY, "auto", "2026-04-06T11:59:00Z", []),
    "daily, grace is over": (DAILY, "auto", "2026-04-06T12:00:00Z", ["2026-04-06"]),
    "weekend of a working week": (WORKING, "auto", "2026-04-06T11:00:00Z", []),
    "Monday of a working week": (WORKING, "auto", "2026-04-06T12:00:00Z", ["2026-04-06"]),
    "a holiday a week ago is asked for once": ([d for d in DAILY if d.day != 30 or d.month != 3], "auto", "2026-04-04T00:00:00Z", ["2026-03-30"]),
    "a holiday is no habit": ([d for d in DAILY if d.day != 30 or d.month != 3], "auto", "2026-04-06T23:00:00Z", []),
    "too little history": (DAILY[:20], "auto", "2026-03-23T23:00:00Z", []),
    "a single batch": (DAILY[:1], "auto", "2026-03-04T00:00:00Z", []),
    "silent for more than four weeks": (DAILY, "auto", "2026-06-01T00:00:00Z", []),
    "off": (DAILY, "off", "2026-04-10T00:00:00Z", []),
    "every ten days": (DAILY[::7][:1] + [START + timedelta(days=10 * k) for k in range(1, 6)], "auto", "2026-05-03T23:00:00Z", ["2026-04-21 + 1"]),
    "at irregular times": ([START + timedelta(days=d) for d in (0, 1, 5, 16, 18, 30)], "auto", "2026-04-20T00:00:00Z", []),
    "a span": (DAILY, "2d", "2026-04-07T12:00:00Z", ["2026-04-07T06:00:00Z"]),
    "a span, not yet": (DAILY, "2d", "2026-04-07T11:59:00Z", []),
    "cron": (DAILY, "0 6 * * *", "2026-04-06T12:00:00Z", ["2026-04-06T06:00:00Z"]),
    "cron of working days": (WORKING, "0 6 * * 1-5", "2026-04-06T11:59:00Z", []),
}


@pytest.mark.parametrize("days, due, now, expected", DUE.values(), ids=DUE)
def test_what_is_due(days, due, now, expected): assert missed(feed(days), now, due) == expected


def test_a_history_that_was_filled_in_is_a_rhythm_and_not_watched():
    history = feed(DAILY, live=False)
    assert missed(history, "2026-04-08T00:00:00Z") == []
    live = pd.concat([history, feed([parse_time("2026-04-06T00:00:00Z")])])
    assert missed(live, "2026-04-07T23:00:00Z") == [], "until four arrivals are known a day must be over"
    assert missed(live, "2026-04-08T06:00:00Z") == ["2026-04-07"]


def test_a_history_run_late_makes_patient_rather_than_loud():
    "Of five weeks measured in one go only the last days could have arrived then; for all we know Monday takes until Sunday"
    frame = feed(DAILY).assign(arrived=parse_time("2026-04-05T12:00:00Z"))
    assert "2026-04-06" not in missed(frame, "2026-04-12T17:59:00Z") and "2026-04-06" in missed(frame, "2026-04-12T18:00:00Z")


def test_three_a_day_are_missed_one_by_one():
    hours = [d + timedelta(hours=h) for d in DAILY for h in (6, 12, 18)]
    today = [START + timedelta(days=35, hours=6)]
    look = lambda now, more=today: missed(feed(hours + more, hour=0.5), now, grace=timedelta(hours=2))  # noqa: E731
    assert [look(f"2026-04-06T{h}:00Z") for h in ("14:29", "14:30", "20:30")] == [[], ["2026-04-06 #2"], ["2026-04-06 #2", "2026-04-06 #3"]]


def test_a_day_belongs_to_its_date_in_every_zone():
    "A folder named by its date is midnight UTC, which is the evening before in New York"
    assert missed(feed(WORKING, 12), "2026-04-06T17:59:00Z", zone="America/New_York") == []
    assert missed(feed(WORKING, 12), "2026-04-06T18:00:00Z", zone="America/New_York") == ["2026-04-06"]


def test_a_gap_that_is_over_is_said_to_be():
    frame = feed([d for d in DAILY if d != parse_time("2026-04-02T00:00:00Z")])
    [gap] = missed_batches(frame, "auto", parse_time("2026-04-05T08:00:00Z"))
    assert (gap.name, gap.over, gap.last) == ("2026-04-02", True, "2026-04-05")


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 60), max_size=50), st.integers(0, 80), st.integers(0, 23), st.sampled_from(["auto", "1d", "0 6 * * *"]))
def test_nothing_is_missed_that_came_and_what_is_missed_stays_so(days, today, hour, due):
    now = START + timedelta(days=today, hours=hour)
    frame = feed(sorted(START + timedelta(days=d) for d in days if d <= today))
    frame = frame[frame["arrived"] <= now]
    first, later = ({m.name: m for m in missed_batches(frame, due, at)} for at in (now, now + timedelta(hours=1)))
    assert all(m.due <= now for m in first.values())
    if due == "auto": assert not set(first) & set(frame["batch"])
    assert {name for name, m in first.items() if m.due > now - timedelta(days=6)} <= set(later)


# in the store

TO = ("json://127.0.0.1:9/x",)
TEAM = Audience(TO)


def log(store, n, letter, now=None, rules=RULES, audience=TEAM, alert=True):
    "What a run writes of batch n"
    one = seen(n, letter, alert_id=f"a{n}" if letter in LEVELS and alert else None)
    alerts = [dict(alert_id=f"a{n}", model="m", metric="brisque", value=42.5, batch=one.batch, time=one.time)] if one.alert_id else []
    return note(store, "m", rules, audience, [one], alerts, now or one.time + timedelta(hours=9))


@pytest.fixture
def store(tmp_path):
    with MetricStore(f"sqlite:///{tmp_path}/store.db") as s: yield s


def test_every_alert_is_stored_and_belongs_to_the_incident(store):
    for n in range(5): log(store, n, "f")
    assert len(store.alerts()) == 5
    [row] = incidents(store).to_dict("records")
    assert (row["batches"], row["value"], row["state"]) == (5, 46.5, "open")
    assert [e["alert_id"] for e in store.events(incident=row["incident"])["detail"] if e.get("alert_id")] == [f"a{n}" for n in range(5)]
    assert store.deliveries()[["alert_id", "kind"]].values.tolist() == [["a0", "told_opened"]]


def test_the_store_tells_a_story_once(store):
    for _ in range(3):
        for n, letter in enumerate("pffffffff" + "ppp" + "f"): log(store, n, letter)
    assert store.deliveries()["kind"].tolist() == ["told_opened", "reminded", "told_recovered", "told_reopened"]
    titles = story(store, incidents(store).incident[0])["messages"]["title"].tolist()
    assert titles[1:3] == ["m: still failing, 8 batches since 2026-03-03, worst BRISQUE 50.5", "m: recovered after 8 batches, 8 days"]
    assert titles[3].startswith("m: fails again: ")


def test_those_who_heard_that_it_is_over_hear_that_it_goes_on(store):
    rules, both = AlertRules(escalate_after=timedelta(days=1)), Audience(TO, ("json://127.0.0.1:9/boss",))
    for n, letter in enumerate("ffpppf"): log(store, n, letter, rules=rules, audience=both)
    assert store.deliveries()["kind"].tolist() == ["told_opened", "escalated", *["told_recovered"] * 2, *["told_reopened"] * 2]


def test_mutes_of_any_end_are_listed(store):
    log(store, 0, "f")
    now = parse_time("2026-03-02T12:00:00Z")
    mute(store, "m", now + timedelta(days=9), "holidays", series="no_batch", now=now)
    mute(store, "m", now + timedelta(days=2, microseconds=34195), "new scanner", now=now)
    assert muted(store, now=now)["until"].tolist() == [now + timedelta(days=9), now + timedelta(days=2, microseconds=34195)]
    assert muted(store, now=now + timedelta(days=20)).empty and len(incidents(store)) == 1


def test_what_waits_is_dropped_when_the_incident_is_closed(store):
    log(store, 0, "f", rules=replace(RULES, quiet=read_quiet("00:00-23:00")))
    log(store, 1, "f")
    close(store, incidents(store).incident[0], "the feed has ended")
    assert deliver_due(store).empty and retry_deliveries(store).empty
    assert open_deliveries(store)["held"].tolist() == ["closed by a person"]


def test_a_retry_while_a_message_is_sent_sends_it_once(store, monkeypatch):
    "Somebody else sends the message after the retry has looked and before it acts"
    sent = []
    monkeypatch.setattr("ocr_quality.tell.alert.send_message", lambda *a, **k: sent.append(1) or Sent("sent", None))
    log(store, 0, "f")
    looked = open_deliveries
    def look(store, **more):
        found = looked(store, **more)
        deliver_due(store)
        return found
    monkeypatch.setattr("ocr_quality.tell.alert.open_deliveries", look)
    assert retry_deliveries(store).empty and len(sent) == 1
    assert store.deliveries()[["state", "attempts"]].values.tolist() == [["sent", 1]]


def test_a_retry_is_one_attempt(store, monkeypatch):
    monkeypatch.setattr("ocr_quality.tell.alert.send_message", lambda *a, **k: Sent("failed", "no"))
    log(store, 0, "f")
    for n in (1, 2, 3): assert retry_deliveries(store)["attempts"].tolist() == [n]


def test_a_clock_that_ran_ahead_holds_nothing_back(store, monkeypatch):
    monkeypatch.setattr("ocr_quality.tell.alert.send_message", lambda *a, **k: Sent("failed", "no"))
    log(store, 0, "f")
    ahead = utc_now() + timedelta(days=365)
    assert len(deliver_due(store, ahead)) == 1 and len(deliver_due(store)) == 1


def test_missing_batches_are_counted_by_episode(store):
    def missed(n, last): return Seen(f"d{n}", day(n), "fail", NO_BATCH, {NO_BATCH: "warning"}, 30.0, None, {}, None, NO_BATCH, f"d{last}", day(last))
    for n in (1, 2, 3): note(store, "m", RULES, TEAM, [missed(n, 0)], now=day(n))
    for n in (4, 5, 6): log(store, n, "p")
    note(store, "m", RULES, TEAM, [missed(7, 6)], now=day(7))
    [row] = incidents(store).to_dict("records")
    titles = story(store, row["incident"])["messages"]["title"].tolist()
    assert (row["state"], titles[-1]) == ("open", "m: no batch, 1 missed since d6")
    log(store, 5, "p", now=day(7))
    note(store, "m", RULES, TEAM, [seen(2, "p")], now=day(7))
    assert incidents(store).state.tolist() == ["open"], "a late batch of before is not the one that is waited for"
    log(store, 7, "p")
    assert incidents(store).state.tolist() == ["recovered"]


def test_a_batch_that_comes_late_under_the_name_it_was_missed_by(store):
    note(store, "m", RULES, TEAM, [Seen("b001", day(1), "fail", NO_BATCH, {NO_BATCH: "warning"}, 30.0, None, {}, None, NO_BATCH, "b000", day(0))],
         now=day(1) + timedelta(hours=12))
    log(store, 1, "p", now=day(1) + timedelta(hours=13))
    [row] = incidents(store).to_dict("records")
    last = store.messages(row["incident"])["message_id"].iloc[-1]
    assert (row["state"], read_message(store, last)[0]) == ("recovered", "m: a batch came again after 1 missed")


def test_measured_again_and_fine(store):
    log(store, 0, "f")
    log(store, 0, "p")
    title, lines, _ = read_message(store, store.messages(incidents(store).incident[0])["message_id"].iloc[-1])
    assert title == "m: measured again, nothing fails any more" and lines[-1][1].endswith("warning")
    assert not any("0 batches" in text for _, text in lines)


RACE = """
import sys
from datetime import timedelta
from ocr_quality.core import parse_time
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.incident import AlertRules, Seen
from ocr_quality.tell.incidents import Audience, note

def log(store, n, letter):
    time = parse_time("2026-03-02T00:00:00Z") + timedelta(days=n)
    bad = letter == "f"
    one = Seen(f"b{n:03}", time, "fail" if bad else "pass", "brisque", {"brisque": "warning"} if bad else {}, 42.5, 32.5, {},
               f"a{n}" if bad else None)
    alerts = [dict(alert_id=f"a{n}", model="m", metric="brisque", value=42.5, batch=one.batch, time=time)] if bad else []
    note(store, "m", AlertRules(), Audience(("json://127.0.0.1:9/x",)), [one], alerts, time)

with MetricStore(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for n, letter in enumerate(sys.argv[2]):
        log(store, n, letter)
        print(n, flush=True)
"""


def start(url, what):
    return subprocess.Popen([sys.executable, "-c", RACE, url, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_tell_nobody_twice(tmp_path, store):
    what = "pp" + "f" * 10 + "ppp"
    jobs = [start(str(store.url), what) for _ in range(3)]
    for j in jobs: assert j.stdout.readline() == "ready\n"
    for j in jobs: j.stdin.write("\n"), j.stdin.flush()
    for j in jobs: assert j.communicate(timeout=60) and j.returncode == 0
    assert store.deliveries()["kind"].tolist() == ["told_opened", "reminded", "told_recovered"]
    assert len(store.alerts()) == 10 and kinds(store.past("m")).count("joined") == 9


@pytest.mark.parametrize("after", [1, 7, 12])
def test_a_process_killed_at_any_batch_loses_nothing_and_repeats_nothing(store, after):
    what = "p" + "f" * 9 + "ppp"
    job = start(str(store.url), what)
    job.stdout.readline()
    job.stdin.write("\n"), job.stdin.flush()
    for line in job.stdout:
        if line.strip() == str(after): break
    os.kill(job.pid, signal.SIGKILL)
    job.communicate(timeout=30)
    for n, letter in enumerate(what): log(store, n, letter)
    assert store.deliveries()["kind"].tolist() == ["told_opened", "reminded", "told_recovered"] and len(store.alerts()) == 9


def test_a_process_killed_within_the_transaction_has_written_nothing(tmp_path, store):
    code = RACE.replace("with MetricStore", "real = MetricStore._tell\ndef dies(self, *args):\n"
                        "    real(self, *args)\n    import os; os.kill(os.getpid(), 9)\n"
                        "MetricStore._tell = dies\nwith MetricStore").replace("    sys.stdin.readline()\n", "")
    job = subprocess.run([sys.executable, "-c", code, str(store.url), "pf"], capture_output=True, text=True)
    assert job.returncode == -signal.SIGKILL, job.stderr
    assert store.past("m") == [] and store.alerts().empty and store.deliveries().empty
    log(store, 1, "f")
    assert store.deliveries()["kind"].tolist() == ["told_opened"] and len(store.alerts()) == 1


def test_ids_may_be_shortened_and_must_be_one(store):
    for n, letter in [(0, "f"), (1, "p"), (2, "p"), (3, "p"), (30, "f")]: log(store, n, letter)
    a, b = incidents(store).incident
    assert len(a) == 10 and find_incident(store, a.upper()[:5])[1].id == a
    for bad in ("", " ", "zz"):
        with pytest.raises(AlertError, match="expected the id of one incident"): find_incident(store, bad)


def test_refusals_of_answers(store):
    log(store, 0, "f")
    [a] = incidents(store).incident
    for bad in ("", "  "):
        with pytest.raises(AlertError, match="who takes care"): acknowledge(store, a, bad)
        with pytest.raises(AlertError, match="expected a reason"): mute(store, "m", day(99), bad)
    with pytest.raises(AlertError, match="to come"): acknowledge(store, a, "ana", until=day(0), now=day(1))
    with pytest.raises(AlertError, match="expected a series of m"): mute(store, "m", day(9), "why", series="brisk", now=day(1))
    mute(store, "m", day(9), "why", series="no_batch", now=day(1))
    for n in (1, 2, 3): log(store, n, "p")
    with pytest.raises(AlertError, match="is over since 2026-03-05"): acknowledge(store, a, "ana")


def test_an_escalation_goes_to_others_and_they_hear_of_the_end(store):
    rules, both = AlertRules(escalate_after=timedelta(days=1)), Audience(TO, ("json://127.0.0.1:9/boss",))
    for n, letter in enumerate("ffppp"): log(store, n, letter, rules=rules, audience=both)
    assert [(d["kind"], d["recipient"]) for d in store.due_deliveries()] == [
        ("told_opened", TO[0]), ("escalated", both.escalate_to[0]), ("told_recovered", TO[0]), ("told_recovered", both.escalate_to[0])]


def test_closing_ends_what_no_batch_ends(store):
    log(store, 0, "f")
    [a] = incidents(store).incident
    for bad in ("", " "):
        with pytest.raises(AlertError, match="expected a reason"): close(store, a, bad)
    assert close(store, a[:5], "retired", by="ana", now=day(3)) == a
    with pytest.raises(AlertError, match="is over since 2026-03-05"): close(store, a, "again")
    with pytest.raises(AlertError, match="is over since 2026-03-05"): acknowledge(store, a, "ana")
    [row] = incidents(store).to_dict("records")
    assert (row["state"], row["recovered"], row["told"] + row["undelivered"]) == ("closed", pd.Timestamp(day(3)), 1)
    last = story(store, a)["events"].iloc[-1]
    assert (last["kind"], last["who"], last["reason"]) == ("closed", "ana", "retired")
    assert note(store, "m", RULES, TEAM, now=day(60)) == [] and len(incidents(store, since=day(4))) == 0
    log(store, 4, "f")
    assert incidents(store).state.tolist() == ["open", "closed"] and store.deliveries()["kind"].tolist() == ["told_opened"] * 2


def test_what_a_late_failure_says(store):
    for n, letter in enumerate("fpfppp"): log(store, n, letter)
    log(store, 1, "f", now=day(20))
    [a] = incidents(store).incident
    assert story(store, a)["messages"]["title"].iloc[-1] == "m: batch b001 fails after all in what is over, 3 batches, 3 days"
    [text] = [t for t in said(store, store.past("m")) if "after all" in t]
    assert "Late:" in text and "Held back" not in text and "Over:" in text and len(store.alerts()) == 3


def test_unknown_names_are_refused(store):
    log(store, 0, "f")
    for call in (lambda: incidents(store, "typo"), lambda: check_alerts(store, ["typo"], deliver=False)):
        with pytest.raises(AlertError, match=r"expected a model \(m\), got 'typo'"): call()
    with pytest.raises(AlertError, match=r"expected the full id of an alert \(a0\), got 'nonsense'"): retry_deliveries(store, "nonsense")


def test_what_is_held_says_why(store):
    rules = AlertRules(quiet=read_quiet("20:00-07:00"))
    log(store, 0, "f", rules=rules)
    night = day(0) + timedelta(hours=23)
    assert open_deliveries(store, night)["held"].tolist() == [f"quiet hours until {day(1) + timedelta(hours=7):%Y-%m-%dT%H:%M:%SZ}"]
    assert open_deliveries(store, day(1) + timedelta(hours=8))["held"].tolist() == [None]
    mute(store, "m", day(9), "holidays", now=day(0))
    assert open_deliveries(store, night)["held"].tolist() == ["muted until 2026-03-11T00:00:00Z"]
    for n in (1, 2, 3): log(store, n, "p", rules=rules)
    assert held_messages(store, day(4))[["message", "reason"]].values.tolist() == [["told_recovered", "muted until 2026-03-11T00:00:00Z"]]
    assert held_messages(store, day(9)).empty


# real mail

class Inbox:
    def __init__(self): self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"

    @property
    def subjects(self): return ["".join(m["Subject"].splitlines()) for m in self.mails]


@pytest.fixture
def relay():
    with socket.create_server(("127.0.0.1", 0)) as s: port = s.getsockname()[1]
    server = Controller(Inbox(), hostname="127.0.0.1", port=port)
    server.start()
    yield server
    server.stop(no_assert=True)


def mailto(relay, to="team@example.org"): return f"mailto://127.0.0.1:{relay.port}?from=scans@example.org&to={to}"


def body(mail): return next(p for p in mail.walk() if p.get_content_type() == "text/plain").get_payload(decode=True).decode()


def test_mails_of_an_incident_from_its_opening_to_its_end(store, relay):
    team = Audience((mailto(relay),))
    for n, letter in enumerate("f" * 8 + "ppp"):
        log(store, n, letter, audience=team)
        deliver_due(store)
    assert relay.handler.subjects == ["m: alert on brisque, 42.5", "m: still failing, 8 batches since 2026-03-02, worst BRISQUE 49.5",
                                      "m: recovered after 8 batches, 8 days"]
    [incident] = incidents(store).incident
    opening, reminder, end = map(body, relay.handler.mails)
    assert f"ocr-quality alerts ack {incident}" in opening and f"ocr-quality alerts ack {incident}" in reminder and "alerts ack" not in end
    assert "BRISQUE 49.5, limit 32.5, in batch b007" in reminder and "3 batches in a row pass" in end and "8 batches failed" in end
    assert incidents(store).told.tolist() == [3]


def test_a_mail_that_could_not_go_in_the_evening_does_not_wake_anybody_at_night(store, relay):
    rules, team = AlertRules(quiet=read_quiet("20:00-07:00")), Audience(("mailto://127.0.0.1:9?from=scans@example.org&to=team@example.org",))
    log(store, 0, "f", day(0) + timedelta(hours=19, minutes=59), rules, team)
    log(store, 50, "c", day(50) + timedelta(hours=23), rules, Audience((mailto(relay),)))
    deliver_due(store, day(0) + timedelta(hours=19, minutes=59))
    tries = store.deliveries()["attempts"].tolist()[0]
    assert open_deliveries(store)["state"].tolist()[0] == "due" and tries == 1
    for hour in (20, 23, 30): deliver_due(store, day(0) + timedelta(hours=hour))
    assert store.deliveries()["attempts"].tolist()[0] == 1
    deliver_due(store, day(1) + timedelta(hours=7))
    assert store.deliveries()["attempts"].tolist()[0] == 2
    assert len(relay.handler.mails) == 1, "what is critical went out"


def test_a_muted_model_is_sent_nothing_not_even_what_scripts_raise(store, relay):
    store.set_recipients("m", [mailto(relay)])
    store.log_metric("m", "brisque", 1, "2026-03-01T00:00:00Z")
    mute(store, "m", day(10), "holidays", now=day(0))
    store.trigger_alert("m", "brisque", 75.3)
    log(store, 1, "c", audience=Audience((mailto(relay),)))
    for n in (1, 5): deliver_due(store, day(n))
    retry_deliveries(store)
    assert len(store.alerts()) == 2
    unmute(store, "m", now=day(6))
    note(store, "m", AlertRules(), Audience((mailto(relay),)), now=day(6))
    deliver_due(store, day(400))
    assert sorted(relay.handler.subjects) == ["m: alert on brisque, 42.5", "m: alert on brisque, 75.3"]


# the watch

def comes(store, n, now):
    "Batch n arrives and is fine"
    store.put_points([dict(point_id=f"b{n}", model="m", metric="pages", value=8, time=day(n), batch=f"{day(n):%Y-%m-%d}")])
    policy = model_settings(store, "m")
    note(store, "m", policy.alert_rules(), audience_of(policy), [Seen(f"{day(n):%Y-%m-%d}", day(n), "learning", "brisque")], now=now)


def test_a_batch_that_does_not_come_is_one_alert_and_one_message(store):
    set_model(store, "m", recipients=TO)
    for n in range(30): comes(store, n, day(n) + timedelta(hours=6))
    for hours in range(30 * 24 + 6, 33 * 24 + 6, 3): check_alerts(store, now=START + timedelta(hours=hours), deliver=False)
    assert store.deliveries()["kind"].tolist() == ["told_opened"]
    assert store.alerts()["batch"].tolist() == ["2026-04-03", "2026-04-02", "2026-04-01"]
    [row] = incidents(store).to_dict("records")
    assert (row["series"], row["state"], row["severity"]) == ("no_batch", "open", "warning")
    comes(store, 33, day(33) + timedelta(hours=6))
    check_alerts(store, now=day(33) + timedelta(hours=7), deliver=False)
    assert store.deliveries()["kind"].tolist() == ["told_opened", "told_recovered"]
    title, last = [m["title"] for m in story(store, row["incident"])["messages"].to_dict("records")]
    assert title == "m: no batch, 1 missed since 2026-03-31" and last == "m: a batch came again after 3 missed"


def test_a_gap_found_afterwards_is_one_message(store):
    set_model(store, "m", recipients=TO)
    for n in range(30): comes(store, n, day(n) + timedelta(hours=6))
    comes(store, 31, day(31) + timedelta(hours=6))
    for hour in (6, 7, 8): check_alerts(store, now=day(31) + timedelta(hours=hour), deliver=False)
    assert store.deliveries()["kind"].tolist() == ["told_over"] and incidents(store).state.tolist() == ["recovered"]


def test_a_batch_from_before_does_not_end_the_wait(store):
    set_model(store, "m", recipients=TO, due="1d")
    for n in range(10, 20): comes(store, n, day(n) + timedelta(hours=6))
    check_alerts(store, now=day(20) + timedelta(hours=12), deliver=False)
    comes(store, 3, day(20) + timedelta(hours=13))
    assert incidents(store).state.tolist() == ["open"]
    comes(store, 20, day(20) + timedelta(hours=14))
    assert incidents(store).state.tolist() == ["recovered"]


def test_a_mute_of_no_batch_is_for_holidays(store):
    set_model(store, "m", recipients=TO)
    for n in range(30): comes(store, n, day(n) + timedelta(hours=6))
    mute(store, "m", day(32), "Easter", series="no_batch", now=day(30))
    check_alerts(store, now=day(31) + timedelta(hours=6), deliver=False)
    comes(store, 31, day(31) + timedelta(hours=7))
    check_alerts(store, now=day(40), deliver=False)
    assert "2026-04-01" not in [e["batch"] for e in store.past("m") if e["kind"] in TOLD]
    assert store.alerts()["batch"].tolist().count("2026-04-01") == 1, "on record all the same"


def test_settings_of_one_model_do_not_silence_another(store, caplog):
    for n in range(3): log(store, n, "f", now=day(n))
    store.put_model("broken", {"window": "often"})
    found = check_alerts(store, now=day(9), deliver=False)
    assert "broken" in caplog.text and found.empty


@pytest.mark.parametrize("field, value, says", [
    ("quiet_hours", "nights", "20:00-07:00"), ("quiet_hours", "mon-sun", "never ends"), ("due", "sometimes", "cron expression"),
    ("cooldown", "soon", "30d"), ("severity", {"slow": "bad"}, "notice, warning, critical"), ("severity", {"slw": "notice"}, "slow"),
    ("recover_after", 0, "recover_after"), ("escalate_after", "2d", "name someone"), ("escalate_to", ["pigeon://x"], "apprise"),
    ("quiet_unless", "loud", "critical")])
def test_settings_that_cannot_be(store, field, value, says):
    with pytest.raises(SettingsError, match=says): set_model(store, "m", **{field: value})
    assert store.models().empty


def test_no_secret_of_those_escalated_to_is_shown(store):
    set_model(store, "m", escalate_after="2d", escalate_to=["json://me:hunter2@127.0.0.1:9/x"], recipients=["json://me:hunter2@127.0.0.1:9/y"])
    for n in range(4): log(store, n, "f", rules=model_settings(store, "m").alert_rules(), audience=audience_of(model_settings(store, "m")))
    deliver_due(store)
    frames = [store.models(), store.deliveries(), store.events(), incidents(store), open_deliveries(store), store.alerts()]
    shown = json.dumps([f.to_dict("records") for f in frames] + [story(store, incidents(store).incident[0])["summary"]], default=str)
    assert "hunter2" not in shown and "escalated" in shown and store.escalate_to("m") == ["json://me:hunter2@127.0.0.1:9/x"]
    assert "hunter2" not in "".join(said(store, store.past("m")))
