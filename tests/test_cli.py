"The commands as a user meets them: output forms, exit codes, one-line errors"
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import timedelta
from pathlib import Path

import cv2
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ocr_quality import synth
from ocr_quality.cli import app
from ocr_quality.cli_common import fit, shorten, show, table_width
from ocr_quality.core import parse_time
from ocr_quality.records.store import MetricStore


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans" / "2026-03-02"
    folder.mkdir(parents=True)
    for seed in range(2): cv2.imwrite(str(folder / f"{seed}.png"), synth.page(seed, dpi=60).gray)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no page")
    return tmp_path / "scans"


def ask(*args): return CliRunner().invoke(app, [str(a) for a in args])


def test_score_prints_one_array_of_row_objects(scans, home):
    done = ask("score", scans, "--json")
    rows = json.loads(done.stdout)
    assert done.exit_code == 0 and len(rows) == 3
    assert all({"uri", "page", "brisque", "contrast", "reason"} <= set(r) for r in rows)
    assert [r["brisque"] is None for r in rows] == [r["reason"] is not None for r in rows] == ["broken" in r["uri"] for r in rows]
    assert {r["brisque_model"].split(":")[0] for r in rows} == {"live-2011"}, "a score names its model"
    assert "3 pages, 1 unreadable, 0 blank; 1 file ignored" in done.stderr
    assert not home.exists(), "score keeps nothing"


def test_score_writes_files(scans, home, tmp_path):
    out = {form: tmp_path / f"out.{form}" for form in ("csv", "parquet", "html")}
    assert ask("score", scans, *(x for form, p in out.items() for x in (f"--{form}", p))).exit_code == 0
    assert len(pd.read_csv(out["csv"])) == len(pd.read_parquet(out["parquet"])) == 3
    html = out["html"].read_text()
    assert "broken.jpg" in html and "http" not in html


def test_the_table_names_pages_and_reasons(scans, home):
    text = ask("score", scans).stdout
    assert "broken.jpg" in text and "0.png" in text and "brisque" in text


def test_quiet_says_nothing(scans, home):
    ask("model", "set", "m", "--max-unreadable", 0.5)
    done = ask("run", scans, "--model", "m", "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_gate_turns_a_failing_batch_into_exit_code_1(scans, home):
    assert ask("model", "set", "m", "--limit", 0.001, "--max-unreadable", 1).exit_code == 0
    assert ask("run", scans, "--model", "m").exit_code == 0
    assert ask("run", scans, "--model", "m", "--gate").exit_code == 1, "also where nothing is left to do"
    assert len(json.loads(ask("alerts", "--json").stdout)) == 1


def test_read_in_dominos_shape(scans, home):
    ask("run", scans, "--model", "m")
    got = json.loads(ask("read", "m", "brisque", "--json").stdout)
    assert set(got) == {"metadata", "metricValues"} and set(got["metadata"]) == {"requestId", "notices"}
    assert [set(v) for v in got["metricValues"]] == [{"timestamp", "value", "tags"}]
    assert got["metricValues"][0]["timestamp"] == "2026-03-02T00:00:00Z"


@pytest.mark.parametrize("args", [
    ("score", "/no/such/folder"),
    ("score", "s3://"),
    ("run", "/no/such/folder", "--model", "m"),
    ("run", ".", "--model", "a/b"),
    ("read", "nobody", "brisque"),
    ("model", "show", "nobody"),
    ("model", "set", "m", "--rule", "guess"),
    ("model", "set", "m", "--recipient", "nonsense"),
    ("model", "apply", "/no/such.toml"),
    ("job", "run", "no_such_job"),
    ("score", ".", "--metrics", "brisk"),
    ("alerts", "--since", "yesterday"),
    ("score", ".", "--log", "xml"),
], ids=" ".join)
def test_an_error_is_one_line_and_exit_code_2(args, home, scans, monkeypatch):
    monkeypatch.chdir(scans / "2026-03-02")
    done = ask(*args)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.output, done.stderr
    assert not list(home.rglob("*.parquet"))


def test_a_store_that_does_not_answer(scans, home, monkeypatch):
    monkeypatch.setenv("OCR_QUALITY_STORE", "postgresql://me:s3cret@127.0.0.1:9/none")
    done = ask("run", scans, "--model", "m")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and "s3cret" not in done.output
    assert not list(home.rglob("*.parquet")), "nothing half-written"
    assert ask("doctor").exit_code == 1


def test_doctor_is_content_on_a_fresh_machine(home):
    done = ask("doctor", "--json")
    assert done.exit_code == 0, done.output
    assert {c["name"] for c in json.loads(done.stdout)} == {"versions", "brisque model", "home", "store", "s3", "mail"}


def test_plugins_register_metrics(scans, home, tmp_path, monkeypatch):
    from ocr_quality.images.quality import METRIC_FUNCTIONS
    from ocr_quality.metrics import METRICS
    plugin = tmp_path / "margins.py"
    plugin.write_text("from ocr_quality.images.quality import metric\n"
                      "@metric('margin', 'higher', 'px', meaning='First column with ink.')\n"
                      "def margin(gray): return float((gray < 128).any(0).argmax())\n")
    monkeypatch.setenv("OCR_QUALITY_PLUGINS", str(plugin))
    try: assert all("margin" in r for r in json.loads(ask("score", scans, "--json", "-q").stdout))
    finally: METRICS.pop("margin", None), METRIC_FUNCTIONS.pop("margin", None)


def test_logs_are_json_where_asked(scans, home):
    lines = ask("run", scans, "--model", "m", "--quiet", "--log", "json", "--verbose").stderr.splitlines()
    assert lines and all({"time", "level", "message"} <= set(json.loads(line)) for line in lines)


# in a terminal

tables = st.dictionaries(st.text("abc_", min_size=1, max_size=24), st.tuples(st.text("xy1", max_size=60), st.text("xy1", max_size=20)).map(list),
                         min_size=1, max_size=8)


@given(tables, st.integers(1, 200), st.integers(0, 8))
def test_a_table_is_cut_no_more_than_it_must(texts, width, keep):
    optional = list(texts)[keep:]
    got = fit(texts, width, optional)
    assert [c for c in texts if c in got] == list(got) and not [c for c in texts if c not in got and c not in optional]
    if table_width(texts) <= width: assert got == texts
    if table_width(got) > width: assert not set(got) & set(optional) and all(len(t) <= max(16, len(c)) for c, column in got.items() for t in column)
    for c, column in got.items():
        assert all(shorten(whole, len(t)) == t and (len(t) >= 16 or t == whole) for t, whole in zip(column, texts[c], strict=True))


@given(tables, st.integers(1, 120))
def test_a_table_is_never_wider_than_it_may_be(texts, width):
    from contextlib import redirect_stdout
    from io import StringIO
    with redirect_stdout(StringIO()) as out: show(pd.DataFrame(texts), width=width)
    lines = out.getvalue().splitlines()
    if "─" in out.getvalue(): assert max(len(line.rstrip()) for line in lines) <= width and "…" not in "".join(texts)
    else: assert [line.split() for line in lines if line] == [[c, *t[i].split()] for i in range(2) for c, t in texts.items()]


def in_terminal(columns, *args):
    "What a command shows in a terminal of so many columns, without styles"
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = subprocess.Popen([Path(sys.executable).parent / "ocr-quality", *args], stdin=other, stdout=other, stderr=other,
                               env={k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"})
    os.close(other)
    parts = []
    try:
        while part := os.read(main, 65536): parts.append(part)
    except OSError: pass  # the terminal's other side is closed
    finally: os.close(main)
    assert command.wait(60) == 0
    return re.sub(r"\x1b\[[\d;]*m", "", b"".join(parts).decode()).replace("\r", "")


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_commands_end_in_a_terminal_of_any_width(home, columns):
    day = parse_time("2026-03-02T00:00:00Z")
    assert ask("model", "set", "claims", "--false-alarm-every", "180d").exit_code == 0
    with MetricStore(f"sqlite:///{home}/store.db") as store:
        for n in range(30): store.log_metric("claims", "brisque", 20 + n % 7 / 7, day + timedelta(days=n))
    assert ask("calibrate", "claims", "brisque", "--reason", "a reason that is too long for any terminal " * 4).exit_code == 0
    listed, kept = in_terminal(columns, "model", "list"), in_terminal(columns, "calibrate", "claims", "brisque", "--list")
    assert "claims" in listed and "2026-03-02" in kept
    for line in listed.splitlines() + kept.splitlines():
        if not line.startswith(("reason ", "recipients ")): assert len(line.rstrip()) <= columns, line


# what went wrong with what a person sees

FAILS = ("--limit", 0.001, "--max-unreadable", 1, "--metrics", "brisque,blank")


def with_incidents(home, *models):
    "The ids of an incident of each model, whose one recipient does not answer"
    from ocr_quality.tell.incident import AlertRules, Seen
    from ocr_quality.tell.incidents import Audience, incidents, note
    time = parse_time("2026-03-02T00:00:00Z")
    with MetricStore(f"sqlite:///{home}/store.db") as store:
        for model in models:
            store.log_metric(model, "brisque", 42.5, time)
            seen = Seen("2026-03-02", time, "fail", "brisque", {"brisque": "warning"}, 42.5, 32.5)
            note(store, model, AlertRules(), Audience(("json://127.0.0.1:9/x",)), [seen])
        return [incidents(store, model)["incident"][0] for model in models]


@pytest.mark.parametrize("rule, of", [("chart", 30), ("mean", 10)])
def test_run_says_how_much_is_learned(scans, home, rule, of):
    ask("model", "set", "m", "--rule", rule, "--max-unreadable", 1)
    assert f"  learning, 0 of {of} batches\n" in ask("run", scans, "--model", "m").stdout


def test_run_says_why_nobody_is_told(scans, home):
    ask("model", "set", "quiet", *FAILS, "--severity", "limit=warning", "--quiet-hours", "00:00-23:59")
    done = ask("run", scans, "--model", "quiet").stdout
    [held] = json.loads(ask("alerts", "--json").stdout)
    assert re.search(rf"^not told: quiet until \S+Z; ocr-quality alerts show {held['incident']}$", done, re.M), done
    ask("model", "set", "muted", *FAILS)
    ask("alerts", "mute", "muted", "--until", "3d", "--reason", "holidays")
    for _ in range(2): assert "not told: muted until 2" in ask("run", scans, "--model", "muted").stdout
    assert "not told" not in ask("run", scans, "--model", "muted", "--quiet").stdout


def test_a_mute_is_named_also_where_people_know_of_the_incident(scans, home):
    ask("model", "set", "m", *FAILS)
    assert "not told" not in ask("run", scans, "--model", "m").stdout
    ask("alerts", "mute", "m", "--until", "3d", "--reason", "holidays")
    (scans / "2026-03-02").rename(scans / "2026-03-03")
    assert "not told: muted until 2" in ask("run", scans, "--model", "m").stdout


def test_a_batch_that_was_filled_in_is_not_told(scans, home):
    ask("model", "set", "m", *FAILS)
    assert "1 batch is history now, nobody was told" in ask("run", scans, "--model", "m", "--backfill").stdout
    assert "not told: 2026-03-02 was filled in with --backfill\n" in ask("run", scans, "--model", "m").stdout


def test_retry_says_each_failure_once(home):
    with_incidents(home, "claims")
    done = ask("alerts", "retry")
    assert (done.stderr, done.stdout.count("Connection refused"), done.exit_code) == ("", 1, 0)
    shown = in_terminal(80, "alerts", "retry")
    assert max(map(len, shown.splitlines())) <= 80 and "told_opened" in shown and "…" in shown


def test_what_matters_stays_in_a_narrow_terminal(home):
    one, _ = with_incidents(home, "claims-of-the-north", "claims-of-the-south")
    listed, shown = in_terminal(80, "alerts"), in_terminal(80, "alerts", "show", one)
    assert "claims-of-the-south" in listed and "not shown: " in listed
    assert re.search(r"opened +2026-03-02 +warning +42.5", shown) and "not shown: series, who" in shown
    for line in (listed + shown).splitlines(): assert len(line) <= 80, line
    narrow = in_terminal(40, "alerts", "show", one).splitlines()
    assert len(narrow) < 22 and any(re.search("told_opened +2026-03-02 +warning +brisque", line) for line in narrow)


@pytest.mark.parametrize("args, told", [
    (("calibrate", "nope", "brisque", "--list"), "expected a model with logged points"),
    (("calibrate", "claims", "brisk", "--list"), "expected one of"),
    (("calibrate", "claims", "brisque", "--since", "yesterday"), "a day such as 2026-03-01 or a time with a zone"),
    (("calibrate", "claims", "brisque", "--since", "2026-02-01", "--until", "2026-01-01"), "since 2026-02-01, which is after until 2026-01-01"),
    (("alerts", "--since", "2026"), "a day such as 2026-03-01 or a time with a zone"), (("alerts", "unmute", "nope"), "expected a model (claims)"),
    (("alerts", "mute", "claims", "--reason", "x", "--until", "banana"), "an end such as 3d, 2026-03-01 or 2026-03-01T08:00:00Z"),
    (("alerts", "mute", "claims", "--reason", "x", "--until", "0d"), "an end such as 3d"),
    (("alerts", "mute", "claims", "--reason", "x", "--until", "99999999999d"), "an end such as 3d"),
    (("alerts", "ack", "c", "--until", "soon"), "an end such as 3d")])
def test_what_is_wrong_is_said_with_what_would_be_right(home, args, told):
    with_incidents(home, "claims")
    done = ask(*args)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and told in done.stderr, done.output


def test_a_baseline_that_does_not_vary_judges_nothing(home):
    with MetricStore(f"sqlite:///{home}/store.db") as store:
        for n in range(40): store.log_metric("m", "brisque", 30.0, parse_time("2026-03-02T00:00:00Z") + timedelta(days=n))
    done = ask("calibrate", "m", "brisque", "--last", 40)
    assert done.exit_code == 0 and "can be judged by it, until" in done.stdout and "are judged by it" not in done.stdout


@pytest.mark.parametrize("rule, absent", [
    (("chart",), {"window", "k", "quantile", "min_points", "exclude_alarms"}), (("mean",), {"quantile", "baseline", "learn", "false_alarm_every"}),
    (("quantile",), {"k", "baseline", "learn", "false_alarm_every"}), (("limit", "--limit", 60), {"window", "k", "baseline"})])
def test_only_what_the_rule_uses_is_shown(home, rule, absent):
    ask("model", "set", "m", "--rule", *rule)
    shown, whole = ask("model", "show", "m").stdout, json.loads(ask("model", "show", "m", "--json").stdout)
    names = {line.split()[0] for line in shown.splitlines()[1:]}
    assert not names & absent and absent <= set(whole) and {"index", "rule", "cooldown"} <= names


def test_the_demo_says_how_to_look_at_its_own_home():
    from ocr_quality.jobs.demo import _next
    told = pd.DataFrame({"incident": [None, "c572623968", "c572623968"]})
    assert _next(Path("demo/home"), told) == "OCR_QUALITY_HOME=demo/home ocr-quality alerts show c572"
    assert _next(Path("my demo/home"), told.head(1)) == "OCR_QUALITY_HOME='my demo/home' ocr-quality alerts"
