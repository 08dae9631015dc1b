"What may be set, for the house, for a model and in quiet hours, and how it is refused"
import re

import pytest

from ocr_quality.core import LONGEST_SPAN, SettingsError, parse_span, settings
from ocr_quality.jobs.model_settings import check_settings, model_settings, set_model
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.quiet import read_quiet


@pytest.fixture
def store(tmp_path):
    with MetricStore(f"sqlite:///{tmp_path}/store.db") as s: yield s


@pytest.mark.parametrize("text", ["99999999999d", "9" * 400 + "d", "36526d", "5218w"])
def test_a_length_of_time_is_at_most_a_century(text):
    with pytest.raises(SettingsError, match="at most 100 years.*state a shorter one"): parse_span(text)


def test_a_century_is_a_length_of_time(): assert parse_span("36525d") == LONGEST_SPAN


@pytest.mark.parametrize("name, value, says", [
    ("timezone", "Mars", "expected an IANA zone such as Europe/Berlin, got 'Mars'"), ("timezone", "", "got ''"), ("timezone", "../x", "IANA"),
    ("timezone", "Europe", "IANA"), ("dpi", "fine", "expected a valid integer, got 'fine'"), ("workers", "2.5", "got '2.5'")])
def test_a_setting_of_the_house_is_refused_by_the_name_of_its_variable(home, monkeypatch, name, value, says):
    monkeypatch.setenv(f"OCR_QUALITY_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"{re.escape(says)}.*; correct OCR_QUALITY_{name.upper()}$"): settings()


@pytest.mark.parametrize("values, says", [
    ({"learn": 5}, "learn: expected a value greater than or equal to 20, got 5"), ({"learn": "x"}, "expected a valid integer, got 'x'"),
    ({"quantile": 1}, "expected a value less than 1, got 1"), ({"rule": "x"}, "or 'limit', got 'x'"), ({"limits": 3}, "got 'limits'"),
    ({"severity": {"slow": 5}}, "expected a valid string, got 5"), ({"due": "1s"}, "every 10m or more rarely, got '1s'"),
    ({"cooldown": "99999999999d"}, "at most 100 years"), ({"pattern": "foo"}, "expected a pattern with tags .* got 'foo'"),
    ({"pattern": "*/scans"}, "expected a pattern with tags"),
    ({"escalate_to": ["json://127.0.0.1:9/hunter2"]}, "expected escalate_after where escalate_to is set, got none"),
    ({"recipients": "json://127.0.0.1:9/hunter2"}, "expected a valid list, got something else"),
    ({"escalate_to": {"hunter2": 1}}, "expected a valid list, got something else"),
    ({"recipients": [["hunter2"]]}, "expected a valid string"),
    ({"false_alarm_every": "9h"}, "got 9h of the model, shared by 2 series; state a longer time"),
    ({"false_alarm_every": "30000d"}, "got 30000d of the model, shared by 2 series; state a shorter time")])
def test_a_setting_of_a_model_is_refused_with_what_was_given(values, says):
    with pytest.raises(SettingsError, match=f"^model m, .*{says}") as e: check_settings("m", values)
    assert "hunter2" not in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("every, series, each", [
    ("365d", 2, "730d"), ("18000d", 2, "36000d"), ("12h", 3, "1.5d"), ("7h", 3, "0.875d"), ("10000.125d", 2, "20000.25d"),
    ("100", 2, "200"), ("10 w", 2, "140d"), ("1d", 1, "1d")])
def test_what_a_series_is_promised_can_be_read(every, series, each):
    made = check_settings("m", {"false_alarm_every": every, "judge": ["brisque", "contrast_p10", "noise"][:series]})
    assert made.promise() == each and (each.isdigit() or parse_span(each))


def test_what_was_stored_and_is_no_longer_allowed_can_be_corrected(store):
    store.put_model("m", {"pattern": "scans/", "learn": 25})
    with pytest.raises(SettingsError, match="pattern"): set_model(store, "m", baseline=50)
    set_model(store, "m", unset=["pattern"])
    assert model_settings(store, "m").learn == 25


def test_a_chart_stays_a_chart_though_a_window_was_set_before(store):
    set_model(store, "m", k=3)
    assert set_model(store, "m", rule="chart").rule == model_settings(store, "m").rule == "chart"


@pytest.mark.parametrize("text, means", [
    ("20:00 - 07:00", "20:00-07:00, UTC"), ("20:00- 07:00, Saturday - sun", "20:00-07:00, sat, sun, UTC"), ("WED, Etc/GMT-5", "wed, Etc/GMT-5")])
def test_quiet_hours_as_people_write_them(text, means): assert str(read_quiet(text)) == means


@pytest.mark.parametrize("text, says", [
    ("monkey", "'monkey' is no hours, day or time zone"), ("20:00-07:00, satan", "'satan' is no"), ("sat, tuesdy", "'tuesdy' is no"),
    ("sat, Asia/Tokyo, Europe/Zurich", "more than one time zone"), ("20:00 -", "'20:00-' is no")])
def test_quiet_hours_that_cannot_be(text, says):
    with pytest.raises(SettingsError, match=f"expected quiet hours such as .*{says}"): read_quiet(text)


def test_the_zone_of_quiet_hours_that_name_none_is_checked():
    with pytest.raises(SettingsError, match="expected an IANA zone such as Europe/Berlin, got 'Mars'"): read_quiet("sat", "Mars")
