"Alerts against real servers: SMTP by aiosmtpd, webhooks by http.server; nothing is mocked but the outside world's faults"
import json
import logging
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from hypothesis import given
from hypothesis import strategies as st

from ocr_quality.core import AlertError, parse_time, utc_now
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.alert import alert_facts, alert_key, deliver_due, open_deliveries, retry_deliveries, send_alert, store_alert
from ocr_quality.tell.notify import check_recipient, scrub, send_message, split_recipient


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s: return s.getsockname()[1]


class Inbox:
    "Takes mail, except for addresses it refuses"
    def __init__(self, refuse=()): self.mails, self.refuse, self.logins = [], set(refuse), []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refuse: return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return "250 OK"

    def __call__(self, server, session, envelope, mechanism, auth):
        self.logins.append((auth.login, auth.password))
        return AuthResult(success=auth.password == b"right", handled=auth.password == b"right")


@pytest.fixture
def relay():
    started = []
    def start(port=None, refuse=(), **kwargs):
        inbox = Inbox(refuse)
        if kwargs.pop("login", False): kwargs |= {"authenticator": inbox, "auth_require_tls": False, "auth_required": True}
        started.append(Controller(inbox, hostname="127.0.0.1", port=port or free_port(), **kwargs))
        started[-1].start()
        return started[-1]
    yield start
    for c in started: c.stop(no_assert=True)


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.end_headers()
        self.wfile.write(b"you sent " + self.path.encode() + json.dumps(dict(self.headers)).encode())

    def log_message(self, *args): pass


@pytest.fixture
def hook():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.posts, server.answers = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(tmp_path):
    with MetricStore(f"sqlite:///{tmp_path}/store.db") as store: yield store


def mailto(port, to="intake@example.org", **options):
    return f"mailto://127.0.0.1:{port}?from=scans@example.org&to={to}" + "".join(f"&{k}={v}" for k, v in options.items())


def batch(name="2026-03-01", **more):
    "Arguments of `send_alert` for a batch of eight pages, one of them truncated"
    uris = [f"/scans/{name}/b{i % 2}/{i:04}.jpg" for i in range(8)]
    pages = pd.DataFrame({"uri": uris, "page": 1, "brisque": [25.0, 60.0] * 4, "blank": 0.0, "reason": None})
    pages.loc[2, ["brisque", "reason"]] = [np.nan, "unreadable: truncated JPEG"]
    row = {"value": 42.5, "lower": np.nan, "upper": 32.5, "centre": 25.1, "history": 24,
           "reason": "mean of 24 batches in 30d is 25.1; limit 32.5 (mean + 3 sd); got 42.5"}
    worst = pages.iloc[[1, 3]][["uri", "page", "brisque"]]
    return dict(model="claims-ocr", metric="brisque", batch=name, time=parse_time("2026-03-01T00:00:00Z"), row=row, pages=pages, worst=worst) | more


def soon(minutes=2): return utc_now() + timedelta(minutes=minutes)


def text_of(mail): return next(p for p in mail.walk() if p.get_content_type() == "text/plain").get_payload(decode=True).decode()
def html_of(mail): return next(p for p in mail.walk() if p.get_content_type() == "text/html").get_payload(decode=True).decode()


# once

def test_a_job_that_runs_twice_sends_one_mail(store, relay):
    server = relay()
    for _ in range(2): send_alert(store, recipients=[mailto(server.port)], **batch())
    assert len(server.handler.mails) == 1
    to, mail = server.handler.mails[0]
    assert to == ["intake@example.org"]
    said = text_of(mail)
    for words in ("42.5", "32.5", "30d", "8, of which 1 unreadable (truncated JPEG 1) and 0 blank", "/scans/2026-03-01/b1/0001.jpg"):
        assert words in said, words
    assert alert_key("claims-ocr", "2026-03-01") in said
    assert store.alerts()[["sent", "due", "failed"]].values.tolist() == [[1, 0, 0]]


def test_eight_threads_with_stores_of_their_own_send_one_mail(tmp_path, relay):
    server, go = relay(), threading.Barrier(8)
    def job(_):
        with MetricStore(f"sqlite:///{tmp_path}/store.db") as own:
            go.wait()
            send_alert(own, recipients=[mailto(server.port)], **batch())
            deliver_due(own, soon())
    with ThreadPoolExecutor(8) as pool: list(pool.map(job, range(8)))
    assert len(server.handler.mails) == 1


def test_another_batch_is_another_alert(store, relay):
    server = relay()
    for name in ("2026-03-01", "2026-03-02"): send_alert(store, recipients=[mailto(server.port)], **batch(name))
    assert len(server.handler.mails) == 2


def test_the_models_recipients_are_told(store, relay):
    server = relay()
    store.set_recipients("claims-ocr", [mailto(server.port, "a@example.org,b@example.org")])
    send_alert(store, **batch())
    assert sorted(to[0] for to, _ in server.handler.mails) == ["a@example.org", "b@example.org"]


def test_delivery_can_wait_for_the_next_run(store, relay):
    server = relay()
    send_alert(store, recipients=[mailto(server.port)], deliver=False, **batch())
    assert server.handler.mails == []
    assert deliver_due(store)["state"].tolist() == ["sent"]
    assert len(server.handler.mails) == 1


def test_the_cause_that_was_found_takes_the_place_of_the_tables(store, relay):
    server = relay()
    moved = pd.DataFrame({"metric": ["sharpness"], "before": [4.1], "now": [2.2], "moved": [9.1]})
    for n, cause in enumerate([None, {"lines": ["scanner b1 carries it", "3 of 8 pages"], "tag": "b1"}], 1):
        send_alert(store, recipients=[mailto(server.port)], cause=cause, **batch(f"2026-03-0{n}", moved=moved))
    plain, told = (text_of(mail) for _, mail in server.handler.mails)
    assert "Moved most" in plain and "Cause" not in plain
    assert "Moved most" not in told and "scanner b1 carries it" in told and "3 of 8 pages" in told
    assert store.alerts()["detail"][0]["cause"]["tag"] == "b1"


# kept and retried

def test_a_server_that_is_down_gets_the_mail_when_it_is_back(store, relay):
    port = free_port()
    send_alert(store, recipients=[mailto(port)], **batch())
    [row] = open_deliveries(store).to_dict("records")
    assert row["state"] == "due" and row["attempts"] == 1 and "refused" in row["error"]
    assert len(deliver_due(store)) == 0, "not before its time"
    server = relay(port)
    assert deliver_due(store, soon())["state"].tolist() == ["sent"]
    assert len(deliver_due(store, soon(60))) == 0
    assert len(server.handler.mails) == 1 and open_deliveries(store).empty


def test_waiting_grows_until_given_up_and_can_be_asked_for_again(store, relay):
    port, now, waits = free_port(), utc_now(), []
    send_alert(store, recipients=[mailto(port)], deliver=False, **batch())
    while len(tried := deliver_due(store, now)):
        later = tried["next_try"].iloc[0]
        if pd.isna(later): break
        waits.append((later - now).total_seconds() / 60)
        now = later.to_pydatetime()
    assert waits[:4] == [1, 2, 4, 8] and max(waits) == 360 and sum(waits) / 60 / 24 > 6
    assert open_deliveries(store)["state"].tolist() == ["failed"]
    server = relay(port)
    assert retry_deliveries(store)["state"].tolist() == ["sent"]
    assert len(server.handler.mails) == 1


@pytest.mark.parametrize("last", [b"EHLO", b"MAIL", b"RCPT", b"DATA", b"the body"])
def test_a_connection_cut_midway_is_kept_and_retried(store, relay, last):
    "The server goes away after it has answered everything up to `last`"
    port = free_port()
    def serve(listener):
        conn, _ = listener.accept()
        with conn, conn.makefile("rb") as lines:
            conn.sendall(b"220 hello\r\n")
            for line in lines:
                if line.upper().startswith(last) or last == b"the body" and line.startswith(b"Subject"): return
                if not line.upper().startswith((b"EHLO", b"MAIL", b"RCPT", b"DATA")): continue
                conn.sendall(b"354 go on\r\n" if line.upper().startswith(b"DATA") else b"250 OK\r\n")
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        send_alert(store, recipients=[mailto(port)], **batch())
        thread.join(10)
    assert open_deliveries(store)["state"].tolist() == ["due"] and open_deliveries(store)["error"].iloc[0]
    server = relay(port)
    assert deliver_due(store, soon())["state"].tolist() == ["sent"]
    assert len(server.handler.mails) == 1


def test_one_refused_address_does_not_repeat_the_mail_to_the_others(store, relay):
    server = relay(refuse=["gone@example.org"])
    send_alert(store, recipients=[mailto(server.port, "gone@example.org,a@example.org,b@example.org")], **batch())
    for minutes in (2, 10, 60): deliver_due(store, soon(minutes))
    assert [to for to, _ in server.handler.mails] == [["a@example.org"], ["b@example.org"]]
    [row] = open_deliveries(store).to_dict("records")
    assert row["state"] == "due" and row["attempts"] == 4 and "no such user" in row["error"]


def test_a_sender_killed_before_the_answer_is_shown_and_not_repeated(tmp_path, store, relay):
    "A server that takes the whole mail and never says so; the sender is killed while it waits"
    port, got = free_port(), threading.Event()
    def serve(listener):
        conn, _ = listener.accept()
        with conn, conn.makefile("rb") as lines:
            conn.sendall(b"220 hello\r\n")
            for line in lines:
                if line == b".\r\n": got.set()
                elif line.upper().startswith((b"EHLO", b"MAIL", b"RCPT")): conn.sendall(b"250 OK\r\n")
                elif line.upper().startswith(b"DATA"): conn.sendall(b"354 go on\r\n")
    store_alert(store, alert_facts(**batch()), [mailto(port)])
    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        code = f"from ocr_quality.records.store import MetricStore; from ocr_quality.tell.alert import deliver_due; deliver_due(MetricStore('sqlite:///{tmp_path}/store.db'))"
        sender = subprocess.Popen([sys.executable, "-c", code])
        assert got.wait(60)
        sender.kill()
        sender.wait()
    server = relay(port)
    assert len(deliver_due(store, soon(60 * 24))) == 0 and server.handler.mails == []
    [row] = open_deliveries(store, soon(60)).to_dict("records")
    assert row["state"] == "unclear" and "may have arrived" in row["error"]
    store._run(lambda c: c.exec_driver_sql("UPDATE oq_deliveries SET updated = updated - 3600000000"), writes=True)
    assert retry_deliveries(store)["state"].tolist() == ["sent"]
    assert len(server.handler.mails) == 1


# webhooks

def test_a_webhook_gets_title_and_text(store, hook):
    send_alert(store, recipients=[f"json://127.0.0.1:{hook.server_port}/scans/x7KqSECRET?+X-Key=k3ySECRET"], **batch())
    [(path, headers, body)] = hook.posts
    body = json.loads(body)
    assert path == "/scans/x7KqSECRET" and headers["X-Key"] == "k3ySECRET"
    assert body["title"] == "claims-ocr: BRISQUE 42.5 above 32.5 in batch 2026-03-01" and "truncated JPEG 1" in body["message"]
    assert "<p" not in body["message"]


def test_a_webhook_that_fails_is_asked_again(store, hook):
    hook.answers = [500, 503, 200]
    send_alert(store, recipients=[f"json://127.0.0.1:{hook.server_port}/x"], **batch())
    assert "500" in open_deliveries(store)["error"].iloc[0]
    assert deliver_due(store, soon())["state"].tolist() == ["due"]
    assert deliver_due(store, soon(10))["state"].tolist() == ["sent"]
    assert len(deliver_due(store, soon(60))) == 0 and len(hook.posts) == 3


def test_optional_in_the_url_does_not_hide_a_failure(store):
    send_alert(store, recipients=[f"json://127.0.0.1:{free_port()}/x?optional=yes"], **batch())
    assert open_deliveries(store)["state"].tolist() == ["due"]


def test_a_proxy_from_the_environment_is_used(store, hook, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{hook.server_port}")
    send_alert(store, recipients=["json://hooks.example.invalid/x"], **batch())
    assert hook.posts[0][0] == "http://hooks.example.invalid/x"
    assert open_deliveries(store).empty


# secrets

SECRETS = ["u5erSECRET", "p4ssSECRET", "x7KqSECRET", "k3ySECRET", "T1SECRET", "B2SECRET"]


def test_secrets_stay_out_of_logs_frames_and_errors(store, hook, caplog, monkeypatch, tmp_path):
    caplog.set_level(1)
    monkeypatch.setenv("HOOK_TOKEN", "x7KqSECRET")
    hook.answers = [500] * 9
    urls = [f"json://u5erSECRET:p4ssSECRET@127.0.0.1:{hook.server_port}/a/${{HOOK_TOKEN}}?+X-Key=k3ySECRET",
            f"mailto://u5erSECRET:p4ssSECRET@127.0.0.1:{free_port()}?from=scans@example.org&to=intake@example.org",
            f"json://127.0.0.1:{free_port()}/x7KqSECRET"]
    send_alert(store, recipients=urls, **batch())
    frames = [deliver_due(store, soon()), open_deliveries(store), store.deliveries(), store.alerts(), store.models()]
    assert len(hook.posts) == 2 and b"x7KqSECRET" not in hook.posts[0][2] and hook.posts[0][0] == "/a/x7KqSECRET"
    shown = caplog.text + "".join(f.to_csv() + repr(f) for f in frames) + "".join(str(vars(r)) for r in caplog.records)
    assert "not delivered" in caplog.text
    for secret in SECRETS: assert secret not in shown, secret


def test_a_refused_login_names_no_password(store, relay, caplog):
    caplog.set_level(1)
    server = relay(login=True)
    url = f"mailto://u5erSECRET:p4ssSECRET@127.0.0.1:{server.port}?from=scans@example.org&to=intake@example.org"
    send_alert(store, recipients=[url], **batch())
    assert server.handler.logins[0][1] == b"p4ssSECRET"
    error = open_deliveries(store)["error"].iloc[0]
    assert "535" in error or "Authentication" in error
    for secret in SECRETS: assert secret not in error + caplog.text


def test_a_login_with_odd_characters_from_the_environment(store, relay, monkeypatch):
    server = relay(login=True)
    monkeypatch.setenv("SMTP_USER", "me@example.org")
    monkeypatch.setenv("SMTP_PASSWORD", "right")
    url = f"mailto://${{SMTP_USER}}:${{SMTP_PASSWORD}}@127.0.0.1:{server.port}?from=scans@example.org&to=a@example.org"
    send_alert(store, recipients=[url], **batch())
    assert server.handler.logins[-1] == (b"me@example.org", b"right") and len(server.handler.mails) == 1


def test_a_missing_variable_is_named_and_the_alert_kept(store, relay, monkeypatch):
    server = relay()
    monkeypatch.delenv("RELAY_HOST", raising=False)
    url = f"mailto://${{RELAY_HOST}}:{server.port}?from=scans@example.org&to=intake@example.org"
    send_alert(store, recipients=[url], **batch())
    [row] = open_deliveries(store).to_dict("records")
    assert row["state"] == "due" and "RELAY_HOST" in row["error"] and "example.org" not in row["error"]
    monkeypatch.setenv("RELAY_HOST", "127.0.0.1")
    assert deliver_due(store, soon())["state"].tolist() == ["sent"]
    assert len(server.handler.mails) == 1


def test_other_peoples_logs_go_on_while_nothing_is_sent(caplog):
    send_message(f"json://127.0.0.1:{free_port()}/x", "t", "x", "x")
    with caplog.at_level(logging.WARNING):
        logging.getLogger("urllib3.connectionpool").warning("from elsewhere")
        logging.getLogger("apprise").debug("too fine")
        logging.getLogger("apprise").warning("from a user's own apprise")
    assert [r.getMessage() for r in caplog.records if r.name != "ocr_quality.tell.alert"] == ["from elsewhere", "from a user's own apprise"]


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789_-.~", min_size=6, max_size=20), min_size=4, max_size=4, unique=True))
def test_scrub_leaves_no_part_of_a_url(parts):
    user, password, token, key = (f"Q{p}Z" for p in parts)
    said = f"{user} {password} at /a/{token}/b with {key}; https://hooks.example.org/{token}"
    shown = scrub(said, f"json://{user}:{password}@hooks.example.org:8080/a/{token}?+X-Key={key}&format=text")
    assert not [p for p in (user, password, token, key) if p in shown]
    assert "hooks.example.org" in shown
    assert token not in scrub(said, f"slack://{token}/{user}/{password}?x={key}")


# recipients

@pytest.mark.parametrize("url, words", [
    ("pigeon://loft:s3cret@roof", "pigeon://***"), ("intake@example.org", "apprise knows"), ("", "empty"), (None, "empty"),
    ("slack://no-tokens", "complete slack URL"), ("mailto://relay.example.org", "complete mailto URL"),
    ("mailto://relay.example.org?from=scans@example.org&to=nobody", "an addressee"),
    ("mailto://relay.example.org?from=a@b.org&to=c@d.org&mode=s3cret", "complete"),
    ("json://", "complete json URL"), ("telegram", "apprise knows")])
def test_a_recipient_nothing_understands_is_refused_when_set(url, words, caplog):
    caplog.set_level(1)
    with pytest.raises(AlertError) as e: check_recipient(url)
    assert words in str(e.value) and "s3cret" not in str(e.value) + caplog.text and "\n" not in str(e.value)


@pytest.mark.parametrize("url", ["mailto://relay.example.org:25?from=a@b.org&to=c@d.org", "mailtos://me:pw@mail.example.org?to=c@d.org", "json://localhost/x",
                                 "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#scans", "${WHOLE_URL}", "slack://${NOT_SET_HERE}", "discord://${NOT_SET_HERE}"])
def test_recipients_that_are_fine(url): check_recipient(url)


@pytest.mark.parametrize("url, people", [
    ("mailto://h?from=a@b.org&to=c@d.org", 1), ("mailto://h?from=a@b.org&to=c@d.org,e@f.org", 2), ("mailto://h/c@d.org/e@f.org?from=a@b.org", 2),
    ("mailtos://u:p@mail.example.org?to=c@d.org%2Ce@f.org&mode=ssl", 2), ("json://h/a/b", 1), ("mailto://u:p@gmail.com", 1)])
def test_one_delivery_an_addressee(url, people):
    parts = split_recipient(url)
    assert len(parts) == people and all(p.startswith(url.split("//")[0]) for p in parts)
    for part in parts: check_recipient(part)


def test_a_recipient_that_no_longer_works_costs_nobody_else_the_alert(store, relay):
    server = relay()
    send_alert(store, recipients=["pigeon://x7KqSECRET", mailto(server.port)], **batch())
    assert len(server.handler.mails) == 1
    [row] = open_deliveries(store).to_dict("records")
    assert row["state"] == "due" and "does not understand the URL pigeon://***" in row["error"]


# what is shown

def _image(path):
    import cv2
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((200, 150), 180, np.uint8))
    return str(path)


@pytest.mark.parametrize("show", [False, True])
def test_pictures_go_along_only_where_show_pages_is_set(store, relay, tmp_path, show):
    server, uris = relay(), [_image(tmp_path / f"{i}.png") for i in range(2)]
    worst = pd.DataFrame({"uri": uris, "page": 1, "brisque": [60.0, 50.0]})
    send_alert(store, recipients=[mailto(server.port)], show_pages=show, **batch(worst=worst))
    [(_, mail)] = server.handler.mails
    pictures = [p.get_payload(decode=True) for p in mail.walk() if p.get_content_maintype() == "image"]
    assert len(pictures) == show and all(p.startswith(b"\x89PNG") for p in pictures)


def test_no_address_leads_outside(store, relay):
    server = relay()
    send_alert(store, recipients=[mailto(server.port)], **batch())
    mail = server.handler.mails[0][1]
    assert not re.search(r"https?://|src=|href=|@import|url\(", html_of(mail) + text_of(mail))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a&b", "naïve – 12", "line\nbreak\r\nBcc: x@y.org"])
def test_odd_names_neither_break_the_mail_nor_the_html(store, relay, name):
    server = relay()
    text = send_alert(store, recipients=[mailto(server.port)], **batch(name))
    [(to, mail)] = server.handler.mails
    assert to == ["intake@example.org"] and mail["Bcc"] is None and mail["To"] == "intake@example.org"
    assert "<script" not in html_of(mail) and "\r" not in text.splitlines()[0]


def test_a_lower_limit_is_said_as_below(store):
    row = {"value": 2.0, "lower": 3.1, "upper": np.nan, "centre": 4.0, "history": 9, "reason": "r"}
    text = send_alert(store, recipients=[], **batch(metric="sharpness", row=row))
    [alert] = store.alerts().to_dict("records")
    assert "Sharpness 2 below 3.1" in text and (alert["condition"], alert["lower_limit"]) == ("greaterThanEqual", 3.1)


def test_an_alert_on_the_share_of_unreadable_pages_lists_them(store):
    row = {"value": 0.9, "lower": np.nan, "upper": 0.2, "centre": np.nan, "history": 0, "reason": "limit 0.2 (absolute); got 0.9"}
    text = send_alert(store, recipients=[], **batch(metric="unreadable_share", row=row, worst=None))
    assert "Unreadable share 0.9 above 0.2" in text and "0002.jpg" in text


@pytest.mark.parametrize("more", [
    {}, dict(condition="lessThanEqual", lower_limit=60.0, upper_limit=60.0, description="more than we like"), dict(description="<b>&")])
def test_an_alert_that_a_script_triggers_is_delivered_each_time(store, relay, more):
    server = relay()
    store.set_recipients("claims-ocr", [mailto(server.port)])
    for _ in range(2): store.trigger_alert("claims-ocr", "accuracy of ours", 75.3, **more)
    assert deliver_due(store)["state"].tolist() == ["sent", "sent"]
    mail = server.handler.mails[0][1]
    assert mail["Subject"] == "claims-ocr: alert on accuracy of ours, 75.3" and more.get("description", "75.3") in text_of(mail)
    assert ("lessThanEqual 60" in text_of(mail)) == ("condition" in more) and "<b>&" not in html_of(mail)


# a company's own certificates

@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    "A private authority's certificate, and a server's certificate and key signed by it"
    from datetime import datetime
    from ipaddress import ip_address

    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    folder, keys = tmp_path_factory.mktemp("certificates"), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in ("our authority", "127.0.0.1")]
    for i, name in enumerate(names):
        made = (x509.CertificateBuilder().subject_name(name).issuer_name(names[0]).public_key(keys[i].public_key()).serial_number(i + 1)
                .not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2090, 1, 1))
                .add_extension(x509.BasicConstraints(ca=not i, path_length=None), True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[i].public_key()), False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), False)
                .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False).sign(keys[0], hashes.SHA256()))
        (folder / f"{i}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key = keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key)
    return folder


@pytest.fixture
def tls(certificates):
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "1.pem", certificates / "key.pem")
    return context


@pytest.mark.parametrize("mode", ["ssl", "starttls"])
def test_mail_over_tls_needs_a_certificate_we_trust(store, relay, tls, certificates, monkeypatch, mode):
    server = relay(**({"ssl_context": tls} if mode == "ssl" else {"tls_context": tls, "require_starttls": True}))
    url = mailto(server.port, mode=mode).replace("mailto:", "mailtos:")
    send_alert(store, recipients=[url], **batch())
    assert "certificate verify failed" in open_deliveries(store)["error"].iloc[0].lower()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "0.pem"))
    assert deliver_due(store, soon())["state"].tolist() == ["sent"]
    assert len(server.handler.mails) == 1


def test_a_webhook_over_tls_needs_a_certificate_we_trust(store, hook, tls, certificates, monkeypatch):
    hook.socket = tls.wrap_socket(hook.socket, server_side=True)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    send_alert(store, recipients=[f"jsons://127.0.0.1:{hook.server_port}/x"], **batch())
    assert "certificate" in open_deliveries(store)["error"].iloc[0].lower()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "0.pem"))
    assert deliver_due(store, soon())["state"].tolist() == ["sent"]
    assert len(hook.posts) == 1
