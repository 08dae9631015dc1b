"Baselines in the store: who teaches, who replaces them, and what a person's calibration changes"
import pandas as pd
import pytest

from ocr_quality import synth
from ocr_quality.core import MetricError, SettingsError
from ocr_quality.jobs.calibrate import calibrate
from ocr_quality.jobs.frozen import AUTO, baseline_for
from ocr_quality.jobs.steps import judge_series
from ocr_quality.judge.chart import ChartRule
from ocr_quality.records.parquet_log import ParquetLog
from ocr_quality.records.store import MetricStore

NOWHERE = ParquetLog("/nowhere")


@pytest.fixture
def store():
    with MetricStore("sqlite://") as made: yield made


def history(n=100, seed=1, bad=slice(0, 0), by=0.0):
    frame = synth.series(n, seed=seed)[0].assign(batch=[f"b{i:03}" for i in range(n)])
    frame.loc[frame.index[bad], "value"] += by * frame["value"][:30].std()
    return frame


def log(store, frame):
    for row in frame.itertuples(): store.log_metric("m", "brisque", row.value, row.time.isoformat())


def test_another_promise_keeps_the_batches_that_taught(store):
    frame = history(bad=slice(35, 55), by=5)
    log(store, frame)
    first = baseline_for(store, "m", "brisque", frame, ChartRule())
    again = calibrate(store, "m", "brisque", false_alarm_every="365d", log=NOWHERE)
    assert again.taught == first.taught and again.centre == first.centre and again.sd == first.sd
    failed = set(frame["time"][35:55])
    assert not failed & set(pd.to_datetime(first.taught, utc=True))
    assert calibrate(store, "m", "brisque", false_alarm_every="100d", log=NOWHERE).limits["high"].slow < again.limits["high"].slow


def test_a_first_calibration_teaches_with_clean_batches_only(store):
    frame = history(bad=slice(35, 55), by=5)
    log(store, frame)
    made = calibrate(store, "m", "brisque", log=NOWHERE)
    assert made.batches == 60 and not set(frame["time"][35:55]) & set(pd.to_datetime(made.taught, utc=True))


def test_what_failed_teaches_only_when_it_is_accepted(store):
    frame, told = history(bad=slice(70, 100), by=5), []
    log(store, frame)
    calibrate(store, "m", "brisque", log=NOWHERE)
    with pytest.raises(MetricError, match="got 0 beside 25 that did; .*--accept-failed"):
        calibrate(store, "m", "brisque", since=frame["time"][75].to_pydatetime(), log=NOWHERE)
    clean = calibrate(store, "m", "brisque", last=40, log=NOWHERE, tell=told.append)
    assert pd.Timestamp(max(clean.taught)) == frame["time"][69] and len(store.baselines("m")) == 2
    again = calibrate(store, "m", "brisque", since=frame["time"][20].to_pydatetime(), log=NOWHERE, tell=told.append)
    assert pd.Timestamp(again.until) == frame["time"][69] and "left out: 30 batches that failed" in told[-1]
    taken = calibrate(store, "m", "brisque", last=25, accept_failed=True, log=NOWHERE)
    assert pd.Timestamp(taken.since) == frame["time"][75] and taken.centre > clean.centre + 3 * clean.sd


def test_a_persons_baseline_is_not_replaced(store):
    frame = history()
    log(store, frame)
    mine = calibrate(store, "m", "brisque", last=30, by="Ada", log=NOWHERE)
    assert baseline_for(store, "m", "brisque", frame, ChartRule("30d")) == mine
    assert store.baselines("m")["by"].tolist() == ["Ada"]


def test_a_person_who_calibrates_while_a_baseline_is_being_frozen_wins(store, monkeypatch):
    import ocr_quality.jobs.frozen as frozen
    frame, real = history(), frozen.own_baselines
    log(store, frame)

    def slow(*args):
        if store.baselines("m").empty: calibrate(store, "m", "brisque", last=30, by="Ada", log=NOWHERE)
        return real(*args)
    monkeypatch.setattr(frozen, "own_baselines", slow)
    assert baseline_for(store, "m", "brisque", frame, ChartRule()).batches == 30
    assert store.baselines("m")["by"].tolist() == ["Ada"]


def test_scores_of_another_kind_are_no_baseline(store):
    "After a new BRISQUE model none of the batches that taught are comparable: the series learns again, on record"
    frame = history()
    old = baseline_for(store, "m", "brisque", frame[:70], ChartRule())
    new = frame[70:].assign(value=lambda d: d["value"] + 15)
    assert baseline_for(store, "m", "brisque", new, ChartRule()).since > old.until
    assert judge_series(store, "m", "brisque", new, ChartRule())["verdict"].iloc[-1] == "learning"
    assert set(store.baselines("m")["by"]) == {AUTO}


def test_a_promise_that_cannot_be_kept_is_refused_by_calibrate_only(store):
    frame = history(40).assign(time=pd.date_range("2022-01-01", periods=40, freq="30D", tz="UTC"))
    log(store, frame)
    with pytest.raises(SettingsError, match="at least 20 batches"): calibrate(store, "m", "brisque", false_alarm_every="365d", log=NOWHERE)
    assert judge_series(store, "m", "brisque", frame, ChartRule("365d"))["verdict"].iloc[-1] in ("pass", "fail")
