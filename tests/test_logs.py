"Log lines of a program of its own: one line an event, nothing when quiet, no secret whoever logs it"
import json
import subprocess
import sys

import pytest

from ocr_quality.logs import redact_text

PROGRAM = """
import logging, sys, warnings
from ocr_quality.logs import get_logger, setup_logging
for _ in range(2): setup_logging(sys.argv[1], verbose="v" in sys.argv[2], quiet="q" in sys.argv[2])
log, secret = get_logger("ocr_quality.jobs.monitor"), "postgresql://me:hunter2@db.example.org/quality"
log.debug("details")
log.info("batch %s done", "2026-03-01", extra=dict(pages=16, model="claims", store=secret))
logging.getLogger("other").info("chatter")
logging.getLogger("other").warning("slow answer from %s", secret)
warnings.warn("old call")
try: raise OSError("no answer from " + secret + "\\nsecond line")
except OSError: log.exception("not delivered")
"""


def lines(*args):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *args], capture_output=True, text=True, check=True)
    assert done.stdout == "" and "hunter2" not in done.stderr and "db.example.org" in done.stderr
    return done.stderr.splitlines()


SHOWN = [("-", "info warning warning error"), ("q", "warning warning error"), ("v", "debug info info warning warning error")]


@pytest.mark.parametrize("how,levels", SHOWN)
def test_each_event_is_one_line_of_json(how, levels):
    events = [json.loads(line) for line in lines("json", how)]
    assert [e["level"] for e in events] == levels.split()
    assert all(e["time"].endswith("Z") and e["logger"] and e["message"] for e in events)
    assert "OSError" in events[-1]["error"] and "second line" in events[-1]["error"]
    done = [e for e in events if e["message"] == "batch 2026-03-01 done"]
    assert [(e["pages"], e["model"], e["logger"]) for e in done] == [(16, "claims", "ocr_quality.jobs.monitor")] * (how != "q")


def test_each_event_is_one_plain_line():
    said = lines("plain", "-")
    assert len(said) == 4 and said[0].split(" ", 1)[1].startswith("INFO ocr_quality.jobs.monitor batch 2026-03-01 done pages=16 model=claims store=")
    assert " | " in said[-1] and "OSError" in said[-1]


@pytest.mark.parametrize("text,want", [
    ("mailto://u:pa?ss@h.org failed", "mailto://*** failed"), ("'slack://a/b/c', \"json://u:p@h/x\"", "'slack://***', \"json://***\""),
    ("s3://bucket/2026/a b.jpg", "s3://bucket/2026/a b.jpg"), ("s3://bucket/a.jpg?X-Amz-Signature=abc", "s3://bucket/a.jpg"),
    ("https://hooks.slack.com/services/T0/B0/XyZ", "https://hooks.slack.com/***"), ("http://u:p@proxy:3128", "http://proxy:3128"),
    ("file:///tmp/a.jpg and sqlite:////tmp/store.db", "file:///tmp/a.jpg and sqlite:////tmp/store.db"),
    ("host=db password='p w' token: t0k", "host=db password=*** token: ***"), ("no address here: 5 // 3", "no address here: 5 // 3")])
def test_redacting_running_text(text, want): assert redact_text(text) == want
