"A script written for Domino's custom metrics runs against our store: arguments, shapes, refusals (see the contract's sections 3 to 7)"
import inspect
from uuid import UUID

import pytest

from ocr_quality.core import AlertError, MetricError, TimeError
from ocr_quality.records.store import MetricStore

START, END = "2022-10-01T00:00:00Z", "2022-10-31T00:00:00Z"


@pytest.fixture
def client(tmp_path):
    with MetricStore(f"sqlite:///{tmp_path}/store.db") as s: yield s


def read(client, metric="brisque", start=START, end=END):
    return client.read_metrics("M", metric, start, end)["metricValues"]


SIGNATURES = {
    "log_metric": "model_monitoring_id metric value timestamp tags=None",
    "log_metrics": "metric_values_array",
    "read_metrics": "model_monitoring_id metric start_timestamp end_timestamp",
    "trigger_alert": "model_monitoring_id metric value condition=None lower_limit=None upper_limit=None description=None"}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_have_the_names_order_and_defaults_of_domino(name):
    parameters = list(inspect.signature(getattr(MetricStore, name)).parameters.values())[1:]
    assert " ".join(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters) == SIGNATURES[name]


def test_constants_are_those_of_domino(client):
    assert [client.LESS_THAN, client.LESS_THAN_EQUAL, client.GREATER_THAN, client.GREATER_THAN_EQUAL, client.BETWEEN] == [
        "lessThan", "lessThanEqual", "greaterThan", "greaterThanEqual", "between"]


def test_read_shape(client):
    assert client.log_metric("M", "brisque", 41.5, "2022-10-08T00:00:00Z", {"scanner": "b2"}) is None
    answer = client.read_metrics("M", "brisque", START, END)
    assert set(answer) == {"metadata", "metricValues"} and set(answer["metadata"]) == {"requestId", "notices"}
    assert UUID(answer["metadata"]["requestId"]) and answer["metadata"]["notices"] == []
    assert answer["metricValues"] == [{"timestamp": "2022-10-08T00:00:00Z", "value": 41.5, "tags": {"scanner": "b2"}}]
    assert type(answer["metricValues"][0]["value"]) is float
    assert client.read_metrics("M", "brisque", START, END)["metadata"]["requestId"] != answer["metadata"]["requestId"]


def test_nothing_there_is_the_same_shape(client):
    assert client.read_metrics("unknown", "brisque", START, END)["metricValues"] == []


@pytest.mark.parametrize("sent,want", [
    ("2022-10-08T00:00:00Z", "2022-10-08T00:00:00Z"), ("2022-10-08T00:00:00+00:00", "2022-10-08T00:00:00Z"),
    ("2022-10-08T02:30:00+02:30", "2022-10-08T00:00:00Z"), ("2022-10-07T20:00:00.123456-04:00", "2022-10-08T00:00:00.123456Z"),
    ("2022-10-08T00:00:00.5Z", "2022-10-08T00:00:00.500000Z")])
def test_times_are_answered_in_utc_with_z(client, sent, want):
    client.log_metric("M", "brisque", 1, sent)
    assert [v["timestamp"] for v in read(client)] == [want]


def test_a_batch_may_mix_models_and_metrics_and_be_empty(client):
    item = {"modelMonitoringId": "M", "metric": "brisque", "value": 1, "timestamp": "2022-10-08T00:00:00Z"}
    assert client.log_metrics([item, item | {"metric": "sharpness/p90", "tags": {}}, item | {"modelMonitoringId": "N", "tags": {"n": 3}}]) is None
    assert client.log_metrics([]) is None
    assert [len(read(client)), len(read(client, "sharpness/p90"))] == [1, 1]
    assert client.read_metrics("N", "brisque", START, END)["metricValues"][0]["tags"] == {"n": "3"}


def test_ascending_ties_by_insertion_duplicates_kept_both_ends_included(client):
    for day, value in [("08", 2), ("07", 1), ("08", 2), ("08", 0), ("09", 3)]: client.log_metric("M", "brisque", value, f"2022-10-{day}T00:00:00Z")
    assert [v["value"] for v in read(client)] == [1, 2, 2, 0, 3]
    assert [v["value"] for v in read(client, start="2022-10-07T00:00:00Z", end="2022-10-08T00:00:00Z")] == [1, 2, 2, 0]


def test_of_duplicate_tag_keys_the_last_wins(client):
    client.log_metric("M", "brisque", 1, "2022-10-08T00:00:00Z", [{"key": "a", "value": "x"}, {"key": "b", "value": 2.5}, {"key": "a", "value": "y"}])
    assert read(client)[0]["tags"] == {"a": "y", "b": "2.5"}


@pytest.mark.parametrize("change,error,said", [
    ({"value": "1.0"}, MetricError, "item 1, value"), ({"value": True}, MetricError, "item 1, value"),
    ({"value": None}, MetricError, "item 1, value"),
    ({"value": float("nan")}, MetricError, "item 1, value"), ({"value": float("-inf")}, MetricError, "item 1, value"),
    ({"timestamp": "2022-10-08T00:00:00"}, TimeError, "item 1, timestamp"), ({"timestamp": "2022-13-08T00:00:00Z"}, TimeError, "item 1, timestamp"),
    ({"timestamp": None}, TimeError, "item 1, timestamp"),
    ({"metric": ""}, MetricError, "item 1, metric"), ({"metric": "a?b"}, MetricError, "item 1, metric"),
    ({"metric": "a#b"}, MetricError, "item 1, metric"), ({"metric": "a%20b"}, MetricError, "item 1, metric"),
    ({"modelMonitoringId": "a/b"}, MetricError, "item 1, modelMonitoringId"), ({"tags": "text"}, MetricError, "item 1, tags")])
def test_a_refused_batch_stores_nothing_and_names_index_and_field(client, change, error, said):
    good = {"modelMonitoringId": "M", "metric": "brisque", "value": 1, "timestamp": "2022-10-08T00:00:00Z"}
    with pytest.raises(error, match=said): client.log_metrics([good, good | change, good])
    assert client.model_names() == []


@pytest.mark.parametrize("field", ["modelMonitoringId", "metric", "value", "timestamp"])
def test_a_missing_key_is_named(client, field):
    good = {"modelMonitoringId": "M", "metric": "brisque", "value": 1, "timestamp": "2022-10-08T00:00:00Z"}
    with pytest.raises(MetricError, match=f"item 0, {field}"): client.log_metrics([{k: v for k, v in good.items() if k != field}])


ALERTS = [  # arguments as clients send them; stored as sent; complete?
    (dict(condition="lessThanEqual", lower_limit=60.0, upper_limit=60.0, description="text"), ["lessThanEqual", 60, 60, "text"], True),
    (dict(condition="between", lower_limit=0, upper_limit=1), ["between", 0, 1, None], True),
    (dict(condition="greaterThan", upper_limit=3), ["greaterThan", None, 3, None], True),
    (dict(condition="lessThan"), ["lessThan", None, None, None], False),
    (dict(), [None, None, None, None], False),
    (dict(lower_limit=5), [None, 5, None, None], False)]


@pytest.mark.parametrize("sent,kept,complete", ALERTS)
def test_an_alert_is_stored_as_sent_whatever_the_value(client, sent, kept, complete):
    assert client.trigger_alert("M", "brisque", 75.3, **sent) is None
    [row] = client.alerts("M").to_dict("records")
    stored = [None if v != v else v for v in (row[c] for c in ("condition", "lower_limit", "upper_limit", "description"))]
    assert stored == kept and row["complete"] is complete and row["value"] == 75.3


def test_each_call_is_an_alert_due_to_each_recipient(client):
    client.set_recipients("M", ["json://one", "json://two"])
    for _ in range(2): client.trigger_alert("M", "brisque", 75.3, client.LESS_THAN, 60, 60, "worse")
    assert client.alerts("M")["due"].tolist() == [2, 2]


@pytest.mark.parametrize("arguments,error,said", [
    (dict(condition="below"), AlertError, "lessThan, lessThanEqual, greaterThan, greaterThanEqual, between"),
    (dict(condition=""), AlertError, "condition"),
    (dict(condition="lessThan", upper_limit=float("nan")), MetricError, "upper_limit"), (dict(lower_limit="60"), MetricError, "lower_limit")])
def test_an_unknown_condition_or_a_limit_that_is_none_is_refused(client, arguments, error, said):
    with pytest.raises(error, match=said): client.trigger_alert("M", "brisque", 75.3, **arguments)
    assert client.alerts().empty
