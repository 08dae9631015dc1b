"The commands as a user meets them: output forms, exit codes, one-line errors"
import json

import cv2
import pandas as pd
import pytest
from typer.testing import CliRunner

from ocr_quality import synth
from ocr_quality.cli import app


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
