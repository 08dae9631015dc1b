"""The optional comparison with Kats: its protocol, and its one detector where `make kats` has been run."""
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "kats.py"
PYTHON = ROOT / ".venv-kats" / "bin" / "python"
needs_kats = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-kats here; make kats makes it")


def run(text, *options, python=sys.executable):
    return subprocess.run([str(python), str(SCRIPT), "detect", *options], input=text, capture_output=True, text=True, timeout=120)


def rows(values, start=datetime(2026, 1, 1, tzinfo=UTC)):
    return [{"time": (start + timedelta(days=i)).isoformat(), "value": v} for i, v in enumerate(values)]


STEP = [20 + i % 3 + 5 * (i >= 20) for i in range(30)]


@pytest.mark.parametrize("text, expected", [
    ("", "got nothing"),
    ("[{", "expected JSON"),
    (json.dumps({"a": 1}), "series 'a': expected a list of rows, got int"),
    (json.dumps([1, 2, 3, 4]), "row 0: expected time and value, got 1"),
    (json.dumps([{"time": "2026-01-01T00:00:00Z"}]), "expected time and value"),
    (json.dumps([{"time": "2026-01-01T00:00:00", "value": 1}]), "with a zone"),
    (json.dumps([{"time": "yesterday", "value": 1}]), "with a zone"),
    (json.dumps([{"time": 5, "value": 1}]), "with a zone"),
    (json.dumps([{"time": "2026-01-01T00:00:00Z", "value": None}]), "leave missing batches out"),
    ('[{"time": "2026-01-01T00:00:00Z", "value": NaN}]', "finite number"),
    ('[{"time": "2026-01-01T00:00:00Z", "value": 1e999}]', "finite number"),
    (json.dumps([{"time": "2026-01-01T00:00:00Z", "value": True}]), "finite number"),
    (json.dumps(rows([1, 2, 3])), "at least 4 batches, got 3"),
    (json.dumps(rows([1, 2, 3, 3] * 2)[:4] + rows([9])), "one value a time"),
    ("time,value\n2026-01-01T00:00:00Z,abc\n", "finite number"),
    ("day,score\n2026-01-01,3\n", "expected time and value"),
])
def test_wrong_input_is_one_line_and_exit_2(text, expected):
    done = run(text)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr and done.stderr.startswith("kats: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("threshold", ["0", "1", "nan"])
def test_threshold_is_a_probability(threshold):
    done = run(json.dumps(rows(STEP)), "--threshold", threshold)
    assert done.returncode == 2 and "above 0 and below 1" in done.stderr


def test_an_environment_without_kats_says_what_to_run():
    "This environment has no Kats, and the script must not take itself for it"
    done = run(json.dumps(rows(STEP)))
    assert done.returncode == 2 and "make kats" in done.stderr


@needs_kats
def test_a_step_is_found_whatever_the_format_and_order():
    data = rows(STEP)
    csv = "time,value\n" + "".join(f"{o['time']},{o['value']}\n" for o in data)
    found = [run(text, python=PYTHON) for text in (json.dumps(data), json.dumps(data[::-1] + data[:3]), csv)]
    assert [o.returncode for o in found] == [0, 0, 0], found[0].stderr
    first = json.loads(found[0].stdout)
    assert [(o["index"], o["direction"], o["time"]) for o in first] == [(20, "increase", "2026-01-21T00:00:00Z")]
    assert first[0]["before"] == pytest.approx(sum(STEP[:20]) / 20) and first[0]["after"] == pytest.approx(sum(STEP[20:]) / 10)
    assert [json.loads(o.stdout) for o in found] == [first] * 3


@needs_kats
def test_it_runs_from_a_notebook(monkeypatch):
    "Jupyter sets a plotting backend that this environment lacks"
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    assert run(json.dumps(rows(STEP)), python=PYTHON).returncode == 0


@needs_kats
def test_several_series_go_by_name_and_a_constant_one_has_no_change():
    done = run(json.dumps({"step": rows(STEP), "fall": rows([-v for v in STEP]), "constant": rows([5] * 30)}), python=PYTHON)
    out = json.loads(done.stdout)
    assert {k: [o["direction"] for o in v] for k, v in out.items()} == {"step": ["increase"], "fall": ["decrease"], "constant": []}
    assert done.stderr == ""
