"Batches: rows in order whoever measures them, an end that is prompt, numbers of the pages that count"
import signal
import threading
import time

import cv2
import numpy as np
import pandas as pd
import pytest

from ocr_quality.core import SettingsError
from ocr_quality.images.batch import iter_measured, measure_batch, metric_columns, readable, share_beyond, summarise
from ocr_quality.images.quality import metric
from ocr_quality.synth import page

SHEETS = [page(seed, dpi=60).gray for seed in range(4)]


def grainy(seed, shape=(660, 510)):
    "The empty back of a sheet as a scanner gives it"
    return np.clip(np.random.default_rng(seed).normal(240, 2, shape), 0, 255).astype(np.uint8)


def files_of(folder, n):
    folder.mkdir()
    for i in range(n): cv2.imwrite(str(folder / f"claim_{i:03}.png"), SHEETS[i % 4])
    return folder


def fax(path, n, seed=0):
    "A TIFF of `n` small pages whose grey level tells their number"
    assert cv2.imwritemulti(str(path), [np.full((40, 60), seed + i, np.uint8) for i in range(n)])


@pytest.fixture
def level():
    "A metric that tells which page it saw, later for earlier pages"
    @metric("demo_level", "lower", "grey level", (0, 255))
    def demo_level(gray):
        time.sleep(0.002 * (int(gray[0, 0]) % 3))
        return float(gray[0, 0])
    return "demo_level"


@pytest.fixture
def counted():
    "A metric that counts its calls"
    calls = []

    @metric("demo_count", "lower", "calls", (0, np.inf))
    def demo_count(gray):
        calls.append(threading.current_thread())
        time.sleep(0.005)
        return 1.0
    return calls


# order, and long files


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_pages_of_long_files_stay_in_order(tmp_path, level, workers):
    for i, n in enumerate([30, 1, 2, 17]): fax(tmp_path / f"{i}.tif", n, seed=50 * i)
    got = measure_batch(tmp_path, [level], workers=workers, progress=False)
    assert got.page.tolist() == [p for n in (30, 1, 2, 17) for p in range(1, n + 1)]
    assert got[level].tolist() == [50 * i + p for i, n in enumerate([30, 1, 2, 17]) for p in range(n)]


def test_a_long_file_is_measured_by_several(tmp_path, counted):
    fax(tmp_path / "fax.tif", 40)
    measure_batch(tmp_path, ["demo_count"], workers=3, progress=False)
    assert len(counted) == 40 and len(set(counted)) == 3
    assert max(map(counted.count, counted)) < 32, "offered until the end of the file"


def test_one_worker_measures_alone(tmp_path, counted):
    fax(tmp_path / "fax.tif", 10)
    measure_batch(tmp_path, ["demo_count"], workers=1, progress=False)
    assert len(counted) == 10 and len(set(counted)) == 1


def test_many_long_files_do_not_lock_up(tmp_path, level):
    for i in range(24): fax(tmp_path / f"{i:02}.tif", 9, seed=i)
    got = measure_batch(tmp_path, [level], workers=4, progress=False)
    assert got[level].tolist() == [i + p for i in range(24) for p in range(9)]


def test_few_pages_of_a_long_file_are_held_at_once(tmp_path, monkeypatch):
    from ocr_quality.images import source
    fax(tmp_path / "fax.tif", 60)
    held, most, lock = [0], [0], threading.Lock()
    decode = source.decode_pages

    def counting(*args):
        for p in decode(*args):
            with lock:
                held[0] += 1
                most[0] = max(most[0], held[0])
            yield p

    @metric("demo_slow", "lower", "s", (0, 1))
    def demo_slow(gray):
        time.sleep(0.003)
        with lock: held[0] -= 1
        return 0.0
    monkeypatch.setattr(source, "decode_pages", counting)
    measure_batch(tmp_path, ["demo_slow"], workers=3, progress=False)
    assert held == [0] and most[0] <= 2 * (3 - 1) + 1, "those on offer and the one just decoded"


def test_a_fault_in_a_metric_on_a_later_page_is_its_reason(tmp_path):
    @metric("demo_picky", "lower", "grey level", (0, 255))
    def demo_picky(gray):
        if gray[0, 0] % 4 == 3: raise ZeroDivisionError("page of three")
        return float(gray[0, 0])
    fax(tmp_path / "fax.tif", 12)
    got = measure_batch(tmp_path, ["demo_picky"], workers=3, progress=False)
    bad = got.page.isin([4, 8, 12])
    assert got.demo_picky.isna().equals(bad) and got.demo_picky.notna().sum() == 9
    assert (got[["reason", "demo_picky_reason"]].bfill(axis=1).iloc[:, 0][bad].str.contains("page of three")).all()


# the end


@pytest.fixture
def ctrl_c():
    "SIGINT interrupts, also where the tests run in the background of a shell, which ignores it"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_drops_what_is_queued(tmp_path, ctrl_c):
    folder, calls = files_of(tmp_path / "in", 60), []

    @metric("demo_stop", "lower", "calls", (0, np.inf))
    def demo_stop(gray):
        calls.append(1)
        if len(calls) == 3: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.05)
        return 1.0
    with pytest.raises(KeyboardInterrupt):
        measure_batch(folder, ["demo_stop"], workers=2, progress=False)
        time.sleep(5)
    assert len(calls) < 20


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_does_not_finish_a_long_file(tmp_path, ctrl_c, workers):
    fax(tmp_path / "fax.tif", 200)
    calls = []

    @metric("demo_stop", "lower", "calls", (0, np.inf))
    def demo_stop(gray):
        calls.append(1)
        if len(calls) == 3: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.05)
        return 1.0
    with pytest.raises(KeyboardInterrupt):
        measure_batch(tmp_path, ["demo_stop"], workers=workers, progress=False)
        time.sleep(5)
    assert len(calls) < 40


def test_a_closed_generator_drops_what_is_queued(tmp_path, counted):
    frames = iter_measured(files_of(tmp_path / "in", 80), ["demo_count"], workers=2, chunk=1, progress=False)
    next(frames)
    frames.close()
    done = len(counted)
    time.sleep(0.05)
    assert len(counted) == done < 20, "nothing goes on after the end"
    assert not [t for t in threading.enumerate() if t.name.startswith("measure")]


# OpenCV's threads belong to the process


@pytest.fixture
def three():
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    yield 3
    cv2.setNumThreads(before)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_batches_at_once_give_the_threads_back(tmp_path, three, order):
    folder = files_of(tmp_path / "in", 3)
    both = [iter_measured(folder, ["contrast"], chunk=1, progress=False) for _ in range(2)]
    for frames in both: next(frames)
    assert cv2.getNumThreads() == 1
    both[order[0]].close()
    assert cv2.getNumThreads() == 1, "the other is still at work"
    both[order[1]].close()
    assert cv2.getNumThreads() == three


def test_an_abandoned_batch_gives_the_threads_back(tmp_path, three):
    frames = iter_measured(files_of(tmp_path / "in", 3), ["contrast"], chunk=1, progress=False)
    next(frames)
    del frames
    assert cv2.getNumThreads() == three


def test_a_failing_batch_gives_the_threads_back(tmp_path, three, monkeypatch):
    from ocr_quality.images.source import File

    def broken(self, data=None): raise RuntimeError("out of paper")
    folder = files_of(tmp_path / "in", 3)
    monkeypatch.setattr(File, "pages", broken)
    with pytest.raises(RuntimeError, match="out of paper"): measure_batch(folder, ["contrast"], progress=False)
    assert cv2.getNumThreads() == three


# the pages that count


@pytest.fixture(scope="module")
def duplex(tmp_path_factory):
    "Three claims and the four grainy backs of a duplex scan, and one file that cannot be read"
    folder = tmp_path_factory.mktemp("duplex")
    for i in range(3): cv2.imwrite(str(folder / f"front_{i}.png"), SHEETS[i])
    for i in range(4): cv2.imwrite(str(folder / f"z_back_{i}.png"), grainy(i))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no")
    return measure_batch(folder, progress=False)


def test_grainy_backs_do_not_drown_the_fronts(duplex):
    fronts = duplex[duplex.uri.str.contains("front")]
    backs = duplex[duplex.blank == 1]
    assert len(backs) == 4 and backs.brisque.notna().all(), "they do have a BRISQUE of their own"
    assert abs(backs.brisque.median() - fronts.brisque.median()) > 5
    assert readable(duplex).uri.tolist() == fronts.uri.tolist()
    table, alone = summarise(duplex), summarise(fronts)
    numbers = ["median", "mean", "p10", "p90", "beyond", "n", "missing"]
    pd.testing.assert_frame_equal(table.drop("blank")[numbers], alone.drop("blank")[numbers])
    assert table.loc["brisque", ["n", "missing", "pages", "unreadable", "blank"]].tolist() == [3, 0, 8, 1, 4]


def test_index_report_and_alert_count_alike(duplex, tmp_path):
    from ocr_quality.core import utc_now
    from ocr_quality.jobs.steps import batch_values
    from ocr_quality.tell.alert import alert_facts
    from ocr_quality.tell.change import moved, worst_pages
    from ocr_quality.tell.report import batch_report, number
    values = batch_values(duplex)
    fronts = duplex[duplex.uri.str.contains("front")]
    assert values["brisque"] == pytest.approx(fronts.brisque.median()) and values["blank_share"] == 0.5 and values["unreadable_share"] == 1 / 8
    row = {"value": values["brisque"], "lower": np.nan, "upper": 10.0, "centre": 5.0, "history": 9, "reason": "limit 10"}
    facts = alert_facts("m", "brisque", "b", utc_now(), row, duplex, worst=worst_pages(duplex, "brisque", 20))
    assert (facts["pages"], facts["unreadable"], facts["blank"]) == (8, 1, 4)
    assert {w["uri"] for w in facts["worst"]} == set(fronts.uri)
    shift = moved(duplex, fronts).set_index("metric")
    assert shift.loc["brisque", "pages_now"] == 3 and shift.loc["brisque", "now"] == shift.loc["brisque", "before"]
    html = open(batch_report(tmp_path / "r.html", "m", "b", duplex), encoding="utf-8").read()
    assert number(values["brisque"]) in html and "front_0" in html and "z_back_1" not in html, "of the backs one is named as the example"


def test_a_readable_page_without_a_value_is_missing(duplex):
    frame = duplex.copy()
    frame.loc[frame.uri.str.contains("front_1"), "sharpness"] = np.nan
    frame.loc[frame.blank == 1, "sharpness"] = np.nan
    assert summarise(frame).loc["sharpness", ["n", "missing"]].tolist() == [2, 1]


@pytest.mark.parametrize("tag", ["reject_reason", "reason", "brisque_reason", "brisque"])
def test_a_tag_is_no_metric_whatever_its_name(duplex, tag):
    frame = duplex.assign(**{f"tag_{tag}": "crumpled"})
    assert metric_columns(frame) == metric_columns(duplex) and "brisque" in metric_columns(frame)
    pd.testing.assert_frame_equal(summarise(frame), summarise(duplex))


@pytest.mark.parametrize("metric,values,limit,share", [
    ("brightness", [200, 220, 240, 250], 140, 0), ("brightness", [100, 220, 240, 250], 140, 0.25), ("brightness", [100, 220], 120, 0.5),
    ("brightness", [100, 220], None, 0.5), ("text_height_px", [8, 20, 50, 60], 45, 0.5), ("text_height_px", [8, 20, 50, 60], 55, 0.25),
    ("text_height_px", [8, 20, 50, 60], 10, 0.25), ("text_height_px", [8, 20, 50, 60], (9, 55), 0.5),
    ("text_height_px", [8, 20, 50, 60], (5, 70), 0),
    ("brisque", [20, 40], 30, 0.5), ("sharpness", [2, 5, 6], 3, 1 / 3), ("skew_deg", [-3, 1], 2, 0.5), ("skew_deg", [], 2, None),
    ("brisque", [1], None, None)])
def test_share_beyond(metric, values, limit, share):
    got = share_beyond(pd.Series(values, dtype=float), metric, limit)
    assert np.isnan(got) if share is None else got == pytest.approx(share)


@pytest.mark.parametrize("metric,limit,says", [
    ("brightness", 200, "target range"), ("text_height_px", 20, "target range"), ("text_height_px", (20, 50), "target range"),
    ("text_height_px", (50, 9), "lowest"), ("text_height_px", (1, 2, 3), "lowest"), ("brisque", (10, 20), "one limit")])
def test_a_limit_that_makes_no_sense_is_refused(metric, limit, says):
    with pytest.raises(SettingsError, match=says): share_beyond(pd.Series([30.0]), metric, limit)


# metrics with a middle, told


def sheets(dark=(), big=(), n=60, batch="b"):
    "A page frame in which some pages are dark, or have letters of 90 px"
    rng, i = np.random.default_rng(len(batch)), np.arange(n)
    return pd.DataFrame({"batch": batch, "time": pd.Timestamp("2026-03-01", tz="UTC"), "uri": [f"{batch}/{k}.png" for k in i], "page": 1,
                         "tag_scanner": [f"s{k % 3}" for k in i], "blank": 0.0, "reason": None,
                         "brightness": np.where(np.isin(i % 3, dark), 90, 235) + rng.standard_normal(n), "brightness_reason": None,
                         "text_height_px": np.where(np.isin(i % 3, big), 90, 20) + rng.standard_normal(n), "text_height_px_reason": None})


PAST = pd.concat([sheets(batch=f"b{'x' * i}") for i in range(8)], ignore_index=True)


@pytest.mark.parametrize("metric,frame,tail", [("brightness", sheets(dark=[1]), "p10"), ("text_height_px", sheets(big=[1]), "p90")])
def test_a_third_of_bad_pages_moves_the_tail_they_are_in(metric, frame, tail):
    from ocr_quality.tell.change import moved, moved_by_tag, worst_pages
    row = moved(frame, PAST).iloc[0]
    assert (row.metric, row.statistic) == (metric, tail) and row.moved > 5
    for name in (metric, f"{metric}_p10", f"{metric}_p90"):
        carried = moved_by_tag(frame, PAST, name)
        assert (carried.value[0], carried.share[0]) == ("s1", pytest.approx(1, abs=0.1)) and carried.moved[0] > 5
        assert set(worst_pages(frame, name, 20).tag_scanner) == {"s1"}


def test_a_move_within_the_good_range_is_carried_too():
    from ocr_quality.tell.change import moved, moved_by_tag
    frame = sheets()
    frame["brightness"] -= np.where(frame.tag_scanner == "s2", 40, 0)
    assert moved(frame, PAST).metric[0] == "brightness"
    carried = moved_by_tag(frame, PAST, "brightness")
    assert carried.value[0] == "s2" and carried.share[0] > 0.9


def test_the_way_back_into_the_good_range_is_carried_by_nobody():
    from ocr_quality.tell.change import moved_by_tag
    assert moved_by_tag(sheets(), sheets(dark=[0, 1, 2], batch="b1"), "brightness").share.tolist() == [0, 0, 0]


@pytest.mark.parametrize("series,value,says", [("brightness_p10", 90.0, "below 130"), ("text_height_px_p90", 90.0, "above 46"),
                                               ("text_height_px_p10", 6.0, "below 9")])
def test_the_limit_named_is_the_one_crossed(tmp_path, series, value, says):
    from ocr_quality.core import utc_now
    from ocr_quality.tell.alert import alert_facts, alert_title
    from ocr_quality.tell.report import batch_report
    lower, upper = (130.0, 256.0) if "bright" in series else (9.0, 46.0)
    frame = sheets()
    judged = pd.DataFrame({"time": pd.date_range("2026-02-01", periods=9, tz="UTC"), "value": [*[30.0] * 8, value], "batch": [*"stuvwxyz", "b"],
                           "lower": lower, "upper": upper, "centre": 30.0, "history": 8, "verdict": [*["pass"] * 8, "fail"], "reason": "as told"})
    assert says in alert_title(alert_facts("m", series, "b", utc_now(), judged.iloc[-1], frame))
    html = open(batch_report(tmp_path / "r.html", "m", "b", frame, {series: judged}), encoding="utf-8").read()
    assert f"the limit {says.split()[1]}" in html.replace(".00", "")
