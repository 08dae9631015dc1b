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
                               env=os.environ | {"TERM": "xterm"})
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
        if "no room here" not in line and not line.startswith(("reason ", "recipients ")): assert len(line.rstrip()) <= columns, line
