"""Run every benchmark here, one after another, each in a process of its own.

    python benchmarks/run.py                 all of them
    python benchmarks/run.py brisque batch   those whose names are given

`make bench` calls this in an environment made for it (see README.md in this folder). Exit code 1 when a benchmark fails to run.
Numbers are printed beside their aims, never asserted: the machine may be busy.
"""
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
wanted = {f"bench_{name.removeprefix('bench_').removesuffix('.py')}" for name in sys.argv[1:]}
scripts = sorted(p for p in here.glob("bench_*.py") if not wanted or p.stem in wanted)
if unknown := wanted - {p.stem for p in scripts}:
    known = sorted(p.stem[6:] for p in here.glob("bench_*.py"))
    sys.exit(f"expected names among {', '.join(known)}, got {', '.join(sorted(n[6:] for n in unknown))}")

failed = []
for script in scripts:
    print(f"\n== {script.stem.removeprefix('bench_')} ==", flush=True)
    if subprocess.run([sys.executable, str(script)], cwd=here.parent).returncode: failed.append(script.name)
if failed: sys.exit(f"failed: {', '.join(failed)}")
