"""Kats' CUSUMDetector in an environment of its own, for comparison only.

    python tools/kats.py                          make .venv-kats beside this folder and try it (what `make kats` does)
    .venv-kats/bin/python tools/kats.py detect    read series from standard input, write their change points to standard output

Kats 0.2.0, its last release, asks for numpy < 1.22 and pandas < 1.4, which no current Python installs. Its CUSUMDetector needs
neither those nor torch, prophet and pystan: Kats goes in without its requirements, beside the few packages it imports.

In: JSON `[{"time": "2026-01-01T00:00:00Z", "value": 20.1}, ...]`, or an object of such lists by name, or CSV with the columns time
and value. Out: JSON, a list (or an object of lists) of `{"time", "index", "direction", "before", "after", "p_value"}`, where `time`
and `index` are of the first batch on the new level. Wrong input: one line on standard error, exit 2.
"""
import argparse
import csv
import importlib
import importlib.util
import io
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-kats"
PACKAGES = ["numpy==1.26.4", "pandas==2.3.3", "packaging==21.3", "scipy<1.18", "statsmodels<0.16", "scikit-learn<1.10", "matplotlib<3.12",
            "seaborn<0.14", "attrs<27", "deprecated<2"]
KATS = "kats==0.2.0"
LEAST = 4  # Points below which two means and a common scatter say nothing


class Refused(Exception):
    "Input or environment that cannot be used; its text is the one line a person sees"


def find_python() -> str:
    "An interpreter that numpy 1.26 has wheels for: 3.11 or 3.12, this one first"
    if sys.version_info[:2] in ((3, 11), (3, 12)): return sys.executable
    for name in ("python3.11", "python3.12"):
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0: return path
    raise Refused("expected Python 3.11 or 3.12 for Kats (numpy 1.26 has no wheels for later ones), found none; install one of them")


def make(folder: Path) -> None:
    "Create the environment in `folder`, or bring it up to date; uv where it is at hand, else pip"
    python = folder / "bin" / "python"
    if not python.exists(): subprocess.run([find_python(), "-m", "venv", str(folder)], check=True)
    uv = [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else [shutil.which("uv")] if shutil.which("uv") else None
    install = [*uv, "pip", "install", "-q", "-p", str(python)] if uv else [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, *PACKAGES], check=True)
    subprocess.run([*install, "--no-deps", KATS], check=True)


def attempt(folder: Path) -> dict:
    "Change point that the environment in `folder` finds in thirty batches, the last ten of them worse by 5"
    rows = [{"time": f"2026-01-{i + 1:02}T00:00:00Z", "value": 20 + i % 3 + 5 * (i >= 20)} for i in range(30)]
    done = subprocess.run([str(folder / "bin" / "python"), __file__, "detect"], input=json.dumps(rows), capture_output=True, text=True)
    found = json.loads(done.stdout) if done.returncode == 0 else []
    if [o["index"] for o in found] != [20]: raise Refused(f"{folder}: expected one change at batch 20, got {found}; {done.stderr.strip()[-500:]}")
    return found[0]


def _row(row: object, where: str) -> tuple[datetime, float]:
    "Time in UTC and value of one `row`"
    if not isinstance(row, dict) or not {"time", "value"} <= row.keys(): raise Refused(f"{where}: expected time and value, got {row!r}")
    try: time = datetime.fromisoformat(row["time"])
    except (TypeError, ValueError): time = None
    if time is None or time.tzinfo is None: raise Refused(f"{where}: expected an RFC 3339 time with a zone, got {row['time']!r}; add Z")
    try: value = float(row["value"]) if not isinstance(row["value"], bool) else math.nan
    except (TypeError, ValueError): value = math.nan
    if not math.isfinite(value): raise Refused(f"{where}: expected a finite number as value, got {row['value']!r}; leave missing batches out")
    return time.astimezone(UTC), value


def _rows(rows: object, where: str) -> list[tuple[datetime, float]]:
    "A series sorted by time; a repeated row counts once"
    if not isinstance(rows, list): raise Refused(f"{where}: expected a list of rows, got {type(rows).__name__}")
    out = sorted({_row(row, f"{where}, row {i}") for i, row in enumerate(rows)})
    if len(out) < LEAST: raise Refused(f"{where}: expected at least {LEAST} batches, got {len(out)}")
    if len({time for time, _ in out}) < len(out): raise Refused(f"{where}: expected one value a time, got several; Kats cannot order them")
    return out


def read(text: str) -> dict[str, list] | list:
    "The series in `text`, JSON or CSV; one list, or lists by name"
    if not text.strip(): raise Refused("standard input: expected series as JSON or CSV, got nothing")
    if text.lstrip()[0] in "[{":
        try: data = json.loads(text)
        except json.JSONDecodeError as e: raise Refused(f"standard input: expected JSON, got text that is none ({e})") from e
    else: data = list(csv.DictReader(io.StringIO(text)))
    if isinstance(data, dict): return {name: _rows(rows, f"series {name!r}") for name, rows in data.items()}
    return _rows(data, "series")


def detect(series: list[tuple[datetime, float]], threshold: float) -> list[dict]:
    "Change points that Kats' CUSUMDetector finds in one series, in order of time"
    import pandas as pd
    from kats.consts import TimeSeriesData
    from kats.detectors.cusum_detection import CUSUMDetector
    frame = pd.DataFrame(series, columns=["time", "value"])
    if frame["value"].nunique() == 1: return []
    frame["time"] = frame["time"].dt.tz_localize(None)
    found = CUSUMDetector(TimeSeriesData(frame)).detector(threshold=threshold)
    first = [o.cp_index + 1 for o in found]  # Kats names the last batch of the old level
    return sorted(({"time": series[i][0].isoformat().replace("+00:00", "Z"), "index": int(i), "direction": o.direction, "before": float(o.mu0),
                    "after": float(o.mu1), "p_value": float(o.p_value)} for i, o in zip(first, found, strict=True)), key=lambda o: o["index"])


def load() -> None:
    "Import Kats, whose name this file bears, and keep its remarks on absent optional parts to itself"
    sys.path[:] = [o for o in sys.path if Path(o or ".").resolve() != HERE]
    os.environ["MPLBACKEND"] = "Agg"  # A notebook's own backend, inherited, is not installed here
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    try: importlib.import_module("kats.detectors.cusum_detection")
    except ImportError as e: raise Refused(f"expected Kats in this environment, got {e}; run make kats and use .venv-kats/bin/python") from e


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", nargs="?", choices=["make", "detect"], default="make")
    parser.add_argument("--threshold", type=float, default=0.01, help="significance level of a change, above 0 and below 1; Kats' default is 0.01")
    parser.add_argument("--folder", type=Path, default=ENVIRONMENT, help="where make puts the environment")
    given = parser.parse_args()
    if not 0 < given.threshold < 1: raise Refused(f"expected a threshold above 0 and below 1, got {given.threshold}")
    if given.verb == "make":
        make(given.folder)
        found = attempt(given.folder)
        print(f"{given.folder} is ready: {KATS} found the step from {found['before']:.1f} to {found['after']:.1f} at {found['time']}")
        return
    series = read(sys.stdin.read())
    load()
    out = {k: detect(v, given.threshold) for k, v in series.items()} if isinstance(series, dict) else detect(series, given.threshold)
    print(json.dumps(out))


if __name__ == "__main__":
    try: main()
    except Refused as e: trouble = str(e)
    except subprocess.CalledProcessError as e: trouble = f"{' '.join(e.cmd[:5])} … failed with exit code {e.returncode}; its message is above"
    else: sys.exit(0)
    print(f"kats: {trouble}", file=sys.stderr)
    sys.exit(2)
