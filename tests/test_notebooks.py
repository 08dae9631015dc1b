"Every notebook runs, its flags honoured; each is a parametrised case"
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb as run_nb

cfg = get_config()
nbs = sorted(nbglob(cfg.nbs_path, as_path=True))


def test_notebooks_are_found(): assert len(nbs) > 20


@pytest.mark.parametrize("nb", nbs, ids=[o.relative_to(cfg.nbs_path).as_posix() for o in nbs])
def test_notebook(nb):
    ok, _ = run_nb(nb.absolute(), skip_flags=cfg.tst_flags.split(), basepath=cfg.config_path)
    assert ok, f"{nb} failed; its traceback is above"
