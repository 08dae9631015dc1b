"What several test files share: a home of their own, the real files beside the project"
import logging
import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
LONG = ("test_install.py", "test_notebooks.py", "test_whole.py", "test_jobs.py")  # Start first, so that no worker waits for one of them in the end
settings.register_profile("house", deadline=None)  # A busy machine is no fault
settings.load_profile("house")


def pytest_collection_modifyitems(items): items.sort(key=lambda i: LONG.index(i.path.name) if i.path.name in LONG else len(LONG))


@pytest.fixture
def home(tmp_path, monkeypatch):
    "A fresh `OCR_QUALITY_HOME`, and no other setting of ours"
    for name in [n for n in os.environ if n.startswith("OCR_QUALITY_")]: monkeypatch.delenv(name)
    monkeypatch.setenv("OCR_QUALITY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def shared():
    "Folder of real files that stands beside the project where it is developed; skips where it is absent"
    folder = Path(os.environ.get("OCR_QUALITY_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir(): pytest.skip(f"the real files are not here ({folder})")
    return folder


@pytest.fixture(autouse=True)
def own_logging_and_metrics():
    "Loggers and registered metrics are the process's; each test leaves them as it found them"
    from ocr_quality.images.quality import METRIC_FUNCTIONS
    from ocr_quality.metrics import METRICS
    root, ours = logging.getLogger(), logging.getLogger("ocr_quality")
    before = root.handlers[:], root.level, ours.handlers[:], ours.level
    tables = [(t, dict(t)) for t in (METRICS, METRIC_FUNCTIONS)]
    yield
    root.handlers[:], ours.handlers[:] = before[0], before[2]
    root.setLevel(before[1]), ours.setLevel(before[3])
    logging.captureWarnings(False)
    for table, kept in tables:
        table.clear()
        table.update(kept)
