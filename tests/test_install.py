"The wheel in clean environments without extras, on every Python that is found: it installs, stays below 1.5 GB, and runs"
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ["3.11", "3.12", "3.13"]


def run(*command, cwd, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OCR_QUALITY", "PYTHON", "VIRTUAL_ENV", "IN_TEST"))} | env
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=clean, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def interpreter(version):
    "Path of a working Python of this version, or None"
    name = f"python{version}"
    for found in [sys.executable, shutil.which(name), *sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")))]:
        if not found: continue
        ask = subprocess.run([found, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True)
        if ask.returncode == 0 and ask.stdout.strip() == version: return found


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    "A wheel built from a copy of the tree, so that building leaves nothing behind"
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    ignore = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "demo", ".ocr_quality", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=ignore)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", "--installer", "uv" if has_uv() else "pip", cwd=source)
    return next((folder / "dist").glob("*.whl"))


def has_uv(): return subprocess.run([sys.executable, "-m", "uv", "--version"], capture_output=True).returncode == 0


def install(python, *what, cwd):
    if has_uv(): run(sys.executable, "-m", "uv", "pip", "install", "-q", "-p", python, *what, cwd=cwd)
    else: run(python, "-m", "pip", "install", "-q", *what, cwd=cwd)


SMOKE = """
import sys, cv2, numpy as np
from pathlib import Path
from ocr_quality import synth
from ocr_quality.images.batch import measure_batch
assert 'torch' not in sys.modules and 'fastapi' not in sys.modules
folder = Path('claims/2026-03-02'); folder.mkdir(parents=True)
for seed in range(3): cv2.imwrite(str(folder / f'{seed}.png'), synth.page(seed, dpi=80).gray)
pages = measure_batch(folder, progress=False)
assert pages.brisque.notna().all(), pages
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_runs_without_extras(version, wheel, tmp_path):
    found = interpreter(version)
    if not found: pytest.skip(f"no Python {version} here")
    env = tmp_path / "env"
    run(found, "-m", "venv", env, cwd=tmp_path)
    python, ours = env / "bin/python", env / "bin/ocr-quality"
    install(python, wheel, cwd=tmp_path)
    assert sum(p.stat().st_size for p in env.rglob("*") if p.is_file() and not p.is_symlink()) < 1.5e9
    run(python, "-c", SMOKE, cwd=tmp_path)
    assert "score" in run(ours, "--help", cwd=tmp_path)
    home = {"OCR_QUALITY_HOME": str(tmp_path / "home")}
    assert len(json.loads(run(ours, "score", "claims", "--json", "--quiet", cwd=tmp_path))) == 3
    run(ours, "run", "claims", "--model", "claims-ocr", cwd=tmp_path, **home)
    assert len(json.loads(run(ours, "read", "claims-ocr", "brisque", "--json", cwd=tmp_path, **home))["metricValues"]) == 1
    run(ours, "job", "run", "image_quality", "-p", "source=claims", "-p", "model=claims-ocr", cwd=tmp_path, **home)
    assert list((tmp_path / "home/runs").rglob("*.html"))


def test_the_wheel_holds_what_it_needs(wheel):
    import zipfile
    names = zipfile.ZipFile(wheel).namelist()
    assert any(n.endswith("image_quality.ipynb") for n in names), "the scheduled notebook travels inside the package"
    assert any("brisque" in n and "/data/" in n for n in names), "the BRISQUE model travels inside the package"
    assert not any("shared" in n or n.endswith((".jpg", ".bmp", ".gif")) for n in names)


def test_help_imports_nothing_heavy():
    "What `--help` loads is Typer and us; anything that measures, judges or connects waits"
    code = ("import sys\nfrom typer.testing import CliRunner\nfrom ocr_quality.cli import app\n"
            "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
            "heavy = {'numpy', 'pandas', 'cv2', 'numba', 'sqlalchemy', 'matplotlib', 'pydantic', 'boto3', 'obstore', 'papermill', 'apprise'}\n"
            "print(sorted(heavy & set(sys.modules)))")
    assert run(sys.executable, "-c", code, cwd=ROOT).strip() == "[]"
