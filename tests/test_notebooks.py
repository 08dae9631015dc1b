"Every notebook runs, its flags honoured; each is a parametrised case in a process of its own, so that none leans on another"
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob

cfg = get_config()
nbs = sorted(nbglob(cfg.nbs_path, as_path=True))
RUN = ("import pathlib, sys; from nbdev.config import get_config; from nbdev.test import test_nb; cfg = get_config(); "
       "sys.exit(not test_nb(pathlib.Path(sys.argv[1]), skip_flags=cfg.tst_flags.split(), basepath=cfg.config_path)[0])")


def run(nb):
    env = {k: v for k, v in os.environ.items() if not k.startswith("OCR_QUALITY_")}
    return subprocess.run([sys.executable, "-c", RUN, str(nb.absolute())], cwd=cfg.config_path, env=env, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="session")
def running():
    "Results to come, two notebooks at a time"
    with ThreadPoolExecutor(2) as pool: yield {nb: pool.submit(run, nb) for nb in nbs}


def test_notebooks_are_found(): assert len(nbs) > 40


@pytest.mark.parametrize("nb", nbs, ids=[o.relative_to(cfg.nbs_path).as_posix() for o in nbs])
def test_notebook(nb, running):
    done = running[nb].result()
    assert done.returncode == 0, f"{nb} failed\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
