"""Copy the scheduled notebooks into the package, so that `ocr-quality job run NAME` works after a plain install.

usage: python tools/scheduled.py [--check]     --check writes nothing and exits 1 when the copies differ
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FROM, TO = ROOT / "scheduled", ROOT / "ocr_quality/jobs/data"


def wanted() -> dict[str, bytes]: return {p.name: p.read_bytes() for p in sorted(FROM.glob("*.ipynb"))}
def found() -> dict[str, bytes]: return {p.name: p.read_bytes() for p in sorted(TO.glob("*.ipynb"))}


if __name__ == "__main__":
    want, have = wanted(), found()
    if "--check" in sys.argv:
        if differ := sorted(n for n in want | have if want.get(n) != have.get(n)):
            sys.exit(f"scheduled notebooks in the package are stale ({', '.join(differ)}): run python tools/scheduled.py")
    else:
        TO.mkdir(parents=True, exist_ok=True)
        for name in have.keys() - want.keys(): (TO / name).unlink()
        for name, data in want.items(): (TO / name).write_bytes(data)
