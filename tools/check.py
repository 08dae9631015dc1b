"""Prove the project, in the order that finds faults earliest: sources in step, notebooks, tests. `make test` calls it.

The first step must run outside pytest: a notebook run by pytest sets IN_TEST, after which nbdev_export does nothing.
"""
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WATCHED = ["nbs", "ocr_quality", "scheduled", "README.md"]
SKIPPED = ["__pycache__", ".ipynb_checkpoints", "*.nbi", "*.nbc"]


def run(*command: str) -> None:
    "Run a command in the project's root; its failure ends the check"
    print("$", " ".join(Path(c).name if c.startswith("/") else c for c in command), flush=True)
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"})
    if done.returncode: sys.exit(done.returncode)


def different(a: Path, b: Path):
    "Paths that differ between two trees, or two files"
    if a.is_file() or b.is_file():
        if not (a.is_file() and b.is_file() and filecmp.cmp(a, b, shallow=False)): yield a
        return
    names = {p.relative_to(x) for x in (a, b) for p in x.rglob("*") if p.is_file()}
    yield from (a / n for n in sorted(names) if not any(n.match(f"{s}/*") or n.match(s) or "__pycache__" in n.parts for s in SKIPPED)
                and not ((a / n).is_file() and (b / n).is_file() and filecmp.cmp(a / n, b / n, shallow=False)))


def in_step() -> None:
    "Export, clean and README must change nothing"
    with tempfile.TemporaryDirectory() as tmp:
        for name in WATCHED:
            source, copy = ROOT / name, Path(tmp) / name
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*SKIPPED)) if source.is_dir() else shutil.copy(source, copy)
        run(str(BIN / "nbdev_export"))
        run(str(BIN / "nbdev_clean"))
        run(str(BIN / "nbdev_clean"), "--fname", "scheduled")
        run(sys.executable, "tools/scheduled.py")
        run(sys.executable, "tools/readme.py")
        stale = [p.relative_to(ROOT).as_posix() for name in WATCHED for p in different(ROOT / name, Path(tmp) / name)]
    if stale: sys.exit(f"expected export, clean and README to change nothing, but they changed {', '.join(stale)}; commit the changes")
    print("export, clean and README change nothing", flush=True)


if __name__ == "__main__":
    in_step()
    run(sys.executable, "-m", "ruff", "check", "--quiet", "ocr_quality", "tools", "tests", "benchmarks", "setup.py")
    workers = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]  # In the order of tests/conftest.py
    run(sys.executable, "-m", "pytest", "-q", "-rs", "--durations=8", *workers, *sys.argv[1:], "tests")
