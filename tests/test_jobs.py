"Notebooks as jobs, in real processes: overlap, kill, schedule, signals, crontab lines"
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ocr_quality.core import JobError, format_time, parse_time, utc_now
from ocr_quality.jobs.notebook import (
    check_parameters,
    find_notebook,
    job_runs,
    notebook_parameters,
    parse_parameters,
    run_notebook,
    scheduled_notebooks,
)
from ocr_quality.jobs.schedule import crontab, next_run, read_schedule, run_job, schedule_file, schedule_job, scheduled_jobs, unschedule_job
from ocr_quality.records.store import MetricStore

ROOT = Path(__file__).resolve().parent.parent


def notebook(path, *cells, parameters="model: str = 'm'\nflag = 1"):
    made = [new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    nbformat.write(new_notebook(cells=made + [new_code_cell(c) for c in cells]), path)
    return path


def start(code, *args, **env):
    "A process of its own that runs `code`"
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition, seconds=60):
    "Wait until `condition()` holds; give back what it gave"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if got := condition(): return got
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} seconds: {condition}")


RUN = "import sys; from ocr_quality.jobs.notebook import run_notebook; run_notebook(sys.argv[1], {'model': sys.argv[2]})"


def runs():
    with MetricStore() as store: return job_runs(store)


# running

def test_a_run_is_kept_and_noted(home, tmp_path):
    path = notebook(tmp_path / "mine.ipynb", "print(model, flag)")
    run = run_notebook(path, {"model": "claims"})
    assert nbformat.read(run.notebook, as_version=4).cells[-1].outputs[0].text == "claims 1\n"
    assert "claims 1" in Path(run.html).read_text()
    [row] = runs().to_dict("records")
    assert (row["job"], row["status"], row["parameters"], row["error"]) == ("mine", "ok", {"model": "claims"}, None)
    assert row["notebook"] == run.notebook and row["started"] < row["ended"]
    assert Path(run.notebook).is_relative_to((home / "runs").absolute())


def test_a_failing_notebook_leaves_what_it_had_done(home, tmp_path):
    path = notebook(tmp_path / "bad.ipynb", "print('first')", "raise ValueError('no such scanner')", "print('never')")
    with pytest.raises(JobError, match="bad failed in cell 3: ValueError: no such scanner") as e: run_notebook(path)
    [row] = runs().to_dict("records")
    assert row["status"] == "failed" and "no such scanner" in row["error"]
    kept = Path(row["notebook"]).read_text()
    assert "first" in kept and "ValueError" in kept and row["html"] in str(e.value)
    assert "no such scanner" in Path(row["html"]).read_text()
    with pytest.raises(JobError): run_notebook(path)
    assert len(runs()) == 2


def test_a_kernel_that_dies_is_an_error_in_one_line(home, tmp_path):
    path = notebook(tmp_path / "dies.ipynb", "import faulthandler, sys; faulthandler.enable(sys.__stderr__); faulthandler._sigabrt()")
    with pytest.raises(JobError, match="(?i)kernel died.*Fatal Python error") as e: run_notebook(path)
    assert "\n" not in str(e.value) and runs()["status"].tolist() == ["failed"]


def test_it_runs_in_this_very_interpreter_whatever_kernels_are_installed(home, tmp_path, monkeypatch):
    spec = tmp_path / "jupyter/kernels/python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/bin/false", "{connection_file}"], "display_name": "stray", "language": "python"}))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    run = run_notebook(notebook(tmp_path / "who.ipynb", "import sys; print(sys.executable)"))
    assert nbformat.read(run.notebook, as_version=4).cells[-1].outputs[0].text.strip() == sys.executable


def test_it_needs_neither_a_terminal_nor_a_home_directory(home, tmp_path):
    path = notebook(tmp_path / "cron.ipynb", "print('ran')")
    env = {"PATH": "/usr/bin:/bin", "OCR_QUALITY_HOME": str(home), "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", RUN, str(path), "m"], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                          cwd="/", start_new_session=True)
    assert done.returncode == 0, done.stderr
    assert runs()["status"].tolist() == ["ok"]


def test_home_and_store_are_those_of_the_notebook_too(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    path = notebook(tmp_path / "where.ipynb", "from ocr_quality.core import settings; print(settings().home, settings().store_url)")
    run = run_notebook(path, home=str(elsewhere), cwd=str(tmp_path))
    said = nbformat.read(run.notebook, as_version=4).cells[-1].outputs[0].text
    assert said.split() == [str(elsewhere), f"sqlite:///{elsewhere}/store.db"]


def test_a_home_in_a_bucket_gets_the_runs(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_notebook(notebook(tmp_path / "mine.ipynb", "print('in a bucket')"), home="s3://scans/home")
    kept = [o["Key"] for o in bucket.list_objects_v2(Bucket="scans")["Contents"]]
    assert run.html == f"s3://scans/home/runs/mine/{run.run_id}.html" and kept == [k.removeprefix("s3://scans/") for k in (run.html, run.notebook)]


def test_secrets_are_not_kept(home, tmp_path):
    path = notebook(tmp_path / "mine.ipynb", "print('using', store)", "print(store.split(':')[2].split('@')[0])", parameters="store = ''\nplain = ''")
    run = run_notebook(path, {"store": "postgresql://me:s3cretWord@db.internal/q", "plain": "s3://claims/in"})
    kept = Path(run.notebook).read_text() + Path(run.html).read_text() + str(runs()["parameters"][0])
    assert "s3cretWord" not in kept and "s3://claims/in" in kept and "postgresql://***@db.internal" in kept


def test_no_address_leads_outside(home, tmp_path):
    from ocr_quality.tell.html import outside_addresses
    run = run_notebook(notebook(tmp_path / "pic.ipynb", "from IPython.display import HTML; HTML('<img src=\"https://cdn.example.org/x.png\">')"))
    assert outside_addresses(Path(run.html).read_text()) == []


# parameters

@pytest.mark.parametrize("text, value", [
    ("3", 3), ("-3", -3), ("0", 0), ("6.5", 6.5), ("1e-3", 1e-3), (".5", 0.5), ("true", True), ("False", False), ("null", None), ("None", None),
    ("", None),
    ("007", "007"), ("1_000", "1_000"), ("12:30", "12:30"), ("2026-03-01", "2026-03-01"), ("{date}/{scanner}", "{date}/{scanner}"), ("yes", "yes"),
    ("nan", "nan"), ("'3'", "3"), ('"true"', "true"), ("a=b", "a=b"), ("[1, 2]", "[1, 2]"), ("s3://b/k?x=1", "s3://b/k?x=1")])
def test_values_are_typed_like_yaml_scalars(text, value):
    got = parse_parameters([f"k={text}"])["k"]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("item", ["k", "=3", "3k=1", "k v=1", ""])
def test_a_parameter_without_a_name_is_refused(item):
    with pytest.raises(JobError, match="name=value"): parse_parameters([item])


@pytest.mark.parametrize("cells, parameters, words", [
    (["1"], {"model": "m", "limits": 3}, "expected parameters among model, flag .* got limits"),
    (None, {"model": "m"}, "tagged 'parameters'")])
def test_unknown_parameters_are_refused_before_anything_runs(home, tmp_path, cells, parameters, words):
    path = notebook(tmp_path / "mine.ipynb", "1", **({} if cells else {"parameters": ""}))
    with pytest.raises(JobError, match=words): run_notebook(path, parameters)
    assert runs().empty
    check_parameters(path, {})


@pytest.mark.parametrize("name, words", [("image_qualty", "image_quality"), ("gone.ipynb", "no such file"), ("", "neither")])
def test_what_is_no_notebook_is_refused(home, name, words):
    with pytest.raises(JobError, match=words): find_notebook(name)


def test_a_file_that_is_no_notebook_is_refused(home, tmp_path):
    (tmp_path / "x.ipynb").write_text("hello")
    with pytest.raises(JobError, match="expected a Jupyter notebook"): run_notebook(tmp_path / "x.ipynb", {"a": 1})


# one at a time

def test_overlap_is_refused_between_processes_and_another_model_is_free(home, tmp_path):
    go = tmp_path / "go"
    path = notebook(tmp_path / "long.ipynb", f"import os, time\nwhile model == 'a' and not os.path.exists({str(go)!r}): time.sleep(.05)")
    first = start(RUN, path, "a")
    wait_for(lambda: first.poll() is not None or "running" in runs()["status"].tolist())
    second = start(RUN, path, "a")
    out, _ = second.communicate(timeout=60)
    assert second.returncode != 0 and "another one is still going on" in out and "long for model a" in out
    assert start(RUN, path, "b").wait(60) == 0
    go.touch()
    assert first.wait(60) == 0, first.stdout.read()
    assert sorted(runs()["status"]) == ["ok", "ok"]
    assert start(RUN, path, "a").wait(60) == 0
    first.stdout.close(), second.stdout.close()


def test_a_killed_run_is_noted_as_lost_and_does_not_block_the_next(home, tmp_path):
    go = tmp_path / "go"
    path = notebook(tmp_path / "long.ipynb", f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(.05)")
    first = start(RUN, path, "a")
    wait_for(lambda: "running" in runs()["status"].tolist())
    first.kill()
    first.wait()
    go.touch()
    assert run_notebook(path, {"model": "a"}).status == "ok"
    frame = runs()
    assert frame["status"].tolist() == ["ok", "lost"] and "killed" in frame["error"][1]


def test_a_run_that_ends_while_one_looks_is_not_lost(home, tmp_path, monkeypatch):
    "The list is read while the run goes on; when its lock is tried, it has ended well"
    path, store, real = notebook(tmp_path / "quick.ipynb", "1"), MetricStore(), MetricStore.runs
    def slow(self, job=None):
        frame = real(self, job)
        if len(frame) and frame["status"][0] == "running": first.wait(60)
        return frame
    first = start(RUN, path, "a")
    wait_for(lambda: "running" in real(store)["status"].tolist() or first.poll() is not None)
    monkeypatch.setattr(MetricStore, "runs", slow)
    assert job_runs(store)["status"].tolist() == ["ok"]
    store.close()


def test_a_killed_run_shows_as_lost_without_another_run(home, tmp_path):
    first = start(RUN, notebook(tmp_path / "long.ipynb", "import time; time.sleep(600)"), "a")
    wait_for(lambda: "running" in runs()["status"].tolist())
    first.kill()
    first.wait()
    assert runs()["status"].tolist() == ["lost"]


# the notebooks that travel along

def test_the_package_has_the_scheduled_notebooks():
    done = subprocess.run([sys.executable, "tools/scheduled.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {p.name: p.read_bytes() for p in (ROOT / "scheduled").glob("*.ipynb")} == {p.name: p.read_bytes() for p in scheduled_notebooks().values()}
    assert "image_quality" in scheduled_notebooks()


@pytest.mark.parametrize("path", sorted((ROOT / "scheduled").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_scheduled_notebook_has_one_parameters_cell_and_no_function(path):
    cells = nbformat.read(path, as_version=4).cells
    assert sum("parameters" in c.metadata.get("tags", []) for c in cells) == 1
    assert not any(re.search(r"^\s*(async )?(def|class) ", c.source, re.M) for c in cells if c.cell_type == "code")
    assert not any(c.outputs for c in cells if c.cell_type == "code")
    wanted = {"models", "until"} if path.stem == "weekly_review" else {"source", "model"}
    assert wanted <= set(notebook_parameters(path))


@pytest.mark.parametrize("show", [None, True])
def test_image_quality_runs_end_to_end(home, tmp_path, show):
    import cv2

    from ocr_quality import synth
    folder = tmp_path / "2026-03-02"
    folder.mkdir()
    for seed in range(2): cv2.imwrite(str(folder / f"{seed}.png"), synth.page(seed, dpi=80).gray)
    (folder / "2.png").write_bytes(b"")
    parameters = {"source": str(folder), "model": "claims-ocr"} | ({} if show is None else {"show_pages": show})
    run = run_notebook("image_quality", parameters)
    page = Path(run.html).read_text()
    assert "2026-03-02" in page and "empty file" in page and page.count("image/png;base64") == (5 if show else 4)
    with MetricStore() as store: assert store.series("claims-ocr", "pages")["value"].tolist() == [3]
    run_notebook("image_quality", parameters)
    with MetricStore() as store: assert store.series("claims-ocr", "pages")["value"].tolist() == [3]


# scheduling

@pytest.mark.parametrize("cron, now, due", [
    ("30 6 * * *", "2026-03-06T12:00:00Z", "2026-03-07T06:30:00Z"), ("*/15 * * * *", "2026-03-06T12:01:00Z", "2026-03-06T12:15:00Z"),
    ("0 0 * * 0", "2026-03-06T12:00:00Z", "2026-03-08T00:00:00Z"), ("0 0 * * 1", "2026-03-06T12:00:00Z", "2026-03-09T00:00:00Z"),
    ("0 0 * * sun", "2026-03-06T12:00:00Z", "2026-03-08T00:00:00Z"), ("0 0 * * 5-7", "2026-03-06T12:00:00Z", "2026-03-07T00:00:00Z"),
    ("0 0 13 * 5", "2026-03-07T12:00:00Z", "2026-03-13T00:00:00Z"), ("0 0 9 * 5", "2026-03-07T12:00:00Z", "2026-03-09T00:00:00Z"),
    ("0 0 1 jan *", "2026-03-06T12:00:00Z", "2027-01-01T00:00:00Z"), ("@weekly", "2026-03-06T12:00:00Z", "2026-03-08T00:00:00Z")])
def test_expressions_mean_what_cron_means(cron, now, due): assert format_time(next_run(cron, "UTC", parse_time(now))) == due


@pytest.mark.parametrize("zone, now, due", [
    ("Europe/Zurich", "2026-01-10T00:00:00Z", "2026-01-10T05:00:00Z"), ("Europe/Zurich", "2026-07-10T00:00:00Z", "2026-07-10T04:00:00Z"),
    ("Asia/Kolkata", "2026-07-10T00:00:00Z", "2026-07-10T00:30:00Z")])
def test_a_job_runs_by_the_clock_of_its_zone(zone, now, due): assert format_time(next_run("0 6 * * *", zone, parse_time(now))) == due


@pytest.mark.parametrize("change, words", [
    ({"cron": "every day"}, "minute, hour, day, month and weekday"), ({"cron": "0 25 * * *"}, "minute, hour"),
    ({"cron": "0 0 30 2 *"}, "a day that comes"),
    ({"timezone": "Mars/Base"}, "time zone such as"), ({"name": "a/b"}, "job name of letters"), ({"name": ""}, "job name"),
    ({"grace": "soon"}, "length of time"),
    ({"parameters": {"modle": "m"}}, "expected parameters among"), ({"parameters": {"model": "m"}}, "expected source for"),
    ({"notebook": "nothing"}, "image_quality")])
def test_a_job_that_would_fail_at_night_is_refused_by_day(home, change, words):
    with pytest.raises(ValueError if "grace" in change else JobError, match=words):
        schedule_job(**{"name": "nightly", "notebook": "image_quality", "parameters": {"model": "m", "source": "in"}} | change)
    assert read_schedule() == {}


def test_jobs_come_and_go(home):
    schedule_job("a", "image_quality", {"model": "m", "source": "postgresql://me:s3cret@db/x"}, timezone="Europe/Zurich")
    needed = {"model": "m", "source": "in"}
    schedule_job("b", "image_quality", needed, cron="@hourly")
    schedule_job("b", "image_quality", needed, cron="@daily")
    frame = scheduled_jobs()
    assert frame["name"].tolist() == ["a", "b"] and frame["cron"].tolist() == ["0 6 * * *", "@daily"] and (frame["next_run"] > utc_now()).all()
    assert "s3cret" not in frame.to_csv() and schedule_file().stat().st_mode & 0o077 == 0
    unschedule_job("a")
    with pytest.raises(JobError, match=r"\(b\)"): unschedule_job("a")
    assert scheduled_jobs()["name"].tolist() == ["b"]


def test_a_scheduled_job_runs_by_its_name_in_its_folder(home, tmp_path, monkeypatch):
    path = notebook(tmp_path / "mine.ipynb", "import os; print(os.getcwd(), model)")
    monkeypatch.chdir(tmp_path)
    schedule_job("nightly", "mine.ipynb", {"model": "claims"})
    monkeypatch.chdir("/")
    run = run_job("nightly")
    assert run.job == "nightly" and nbformat.read(run.notebook, as_version=4).cells[-1].outputs[0].text.split() == [str(path.parent), "claims"]
    with pytest.raises(JobError, match="nightly.*image_quality"): run_job("daily")


SCHEDULER = """
from ocr_quality.jobs import schedule
from ocr_quality.logs import setup_logging
setup_logging()
schedule.POLL_S, schedule.PATIENCE_S = .2, 1
schedule.run_scheduler(ready=lambda: print('ready', flush=True))
"""


@pytest.fixture
def scheduler(home):
    started = []
    def go():
        started.append(start(SCHEDULER))
        assert any(line == "ready\n" for line in started[-1].stdout)
        return started[-1]
    yield go
    for p in started:
        if p.poll() is None: p.kill()
        p.wait(), p.stdout.close()


def fired(job): return [s for s in runs().query(f"job == '{job}'")["status"] if s != "running"]


def backdate(name, **change):
    "Make a job look as if it had been scheduled earlier"
    jobs = json.loads(schedule_file().read_text())
    jobs["jobs"][name] |= change
    schedule_file().write_text(json.dumps(jobs))


def test_the_scheduler_picks_up_a_job_runs_it_and_stops_on_sigterm(home, tmp_path, scheduler):
    process = scheduler()
    other = start(SCHEDULER)
    out, _ = other.communicate(timeout=60)
    assert other.returncode != 0 and "another one is running" in out
    schedule_job("soon", notebook(tmp_path / "mine.ipynb", "print('hello')"), cron="* * * * *")
    backdate("soon", created=format_time(utc_now() - timedelta(minutes=3)))
    assert wait_for(lambda: fired("soon")) == ["ok"]
    unschedule_job("soon")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert "hello" not in (home / "logs/soon.log").read_text() and "soon ok: " in (home / "logs/soon.log").read_text()


def test_several_missed_runs_become_one_and_old_ones_none(home, tmp_path, scheduler):
    path = notebook(tmp_path / "mine.ipynb", "1")
    hour = (utc_now() - timedelta(hours=2)).hour
    for name, grace in (("late", "12h"), ("too-late", "30m"), ("never-missed", "12h")):
        schedule_job(name, path, {"model": name}, cron=f"0 {hour} * * *", grace=grace)
    for name in ("late", "too-late"): backdate(name, created=format_time(utc_now() - timedelta(days=5)))
    process = scheduler()
    assert wait_for(lambda: fired("late")) == ["ok"]
    time.sleep(1)
    assert fired("late") == ["ok"] and fired("too-late") == fired("never-missed") == []
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_a_job_under_way_is_given_time_and_then_stopped(home, tmp_path, scheduler, monkeypatch):
    path = notebook(tmp_path / "long.ipynb", "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)")
    monkeypatch.chdir(tmp_path)
    schedule_job("long", path, cron="* * * * *")
    backdate("long", created=format_time(utc_now() - timedelta(minutes=3)))
    process = scheduler()
    pid = int(wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    [row] = runs().to_dict("records")
    assert (row["status"], row["error"]) == ("failed", "interrupted") and Path(row["html"]).exists()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_a_job_that_fails_is_logged_and_the_scheduler_goes_on(home, tmp_path, scheduler):
    for name, cell in (("bad", "raise ValueError('no such scanner')"), ("good", "1")):
        schedule_job(name, notebook(tmp_path / f"{name}.ipynb", cell), cron="* * * * *")
        backdate(name, created=format_time(utc_now() - timedelta(minutes=3)))
    process = scheduler()
    wait_for(lambda: fired("bad") and fired("good"))
    assert fired("bad")[-1] == "failed" and fired("good")[-1] == "ok"
    assert "no such scanner" in (home / "logs/bad.log").read_text()
    process.terminate()
    assert process.wait(60) == 0


# cron

def test_crontab_lines_run_as_they_are(home, tmp_path, monkeypatch):
    path = notebook(tmp_path / "it's mine.ipynb", "print('ran')")
    monkeypatch.chdir(tmp_path)
    schedule_job("nightly", path, {"model": "s3cret-model"}, cron="30 6 * * 1-5", timezone="Europe/Zurich")
    here = [sys.executable, "-c", "import sys; from ocr_quality.jobs.schedule import run_job; run_job(sys.argv[3])"]
    lines = crontab(program=here).splitlines()
    assert lines[1] == "CRON_TZ=Europe/Zurich" and "s3cret-model" not in "".join(lines)
    entries = [re.fullmatch(r"((?:\S+ ){5})(.*)", line).groups() for line in lines[2:] if not line.startswith("#")]
    assert [e[0].strip() for e in entries] == ["30 6 * * 1-5", "*/5 * * * *"]
    for _, command in entries:
        done = subprocess.run(["sh", "-c", command], env={"PATH": "/usr/bin:/bin"}, cwd="/", capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (done.stdout, done.stderr, [p.read_text() for p in (home / "logs").iterdir()])
    assert fired("nightly") == ["ok"]


def test_crontab_calls_this_environments_command(home):
    schedule_job("nightly", "image_quality", {"model": "m", "source": "in"})
    line = crontab().splitlines()[2]
    assert f"{Path(sys.executable).with_name('ocr-quality')} job run nightly" in line and str(home) in line
