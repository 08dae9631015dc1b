"What several test files share: a home of their own, the real files beside the project"
import logging
import os
import urllib.request
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


AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"}


def empty_server(address):
    "Forget what a moto server holds: its buckets are the process's, whichever server made them"
    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST")).close()


@pytest.fixture(scope="session")
def s3_server():
    "The address of a moto server"
    moto = pytest.importorskip("moto.server", reason="needs the package moto (extra dev)")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def aws(monkeypatch, tmp_path):
    "An environment with keys for S3 and nothing else of it; sets the address of the server"
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_REGION"): monkeypatch.delenv(name, raising=False)
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    for name, value in (AWS | files).items(): monkeypatch.setenv(name, value)
    return lambda address: monkeypatch.setenv("AWS_ENDPOINT_URL", address)


@pytest.fixture
def s3(s3_server, aws):
    "A client of an empty server, and the environment in which that is found"
    aws(s3_server)
    empty_server(s3_server)
    boto3 = pytest.importorskip("boto3", reason="needs the package boto3 (extra dev)")
    yield boto3.client("s3")
    empty_server(s3_server)


@pytest.fixture
def bucket(s3):
    "The same with a bucket called scans"
    s3.create_bucket(Bucket="scans")
    return s3


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
