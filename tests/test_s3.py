"Objects and sources over HTTP: real obstore and boto3 clients against a moto server on this machine"
import socket
import time
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from threading import Thread

import cv2
import numpy as np
import pytest
from conftest import AWS

from ocr_quality.core import EmptyBatchError, SourceError
from ocr_quality.images.source import open_source, prefetch
from ocr_quality.objects import delete, exists, list_files, list_folders, open_reader, read_bytes, stat_file, write_bytes


def picture(value=200, size=(40, 30)):
    "A grey page as PNG bytes"
    return cv2.imencode(".png", np.full(size, value, np.uint8))[1].tobytes()


def free_port():
    "A port on which nobody listens"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_write_read_list_delete(bucket):
    write_bytes("s3://scans/a/b.bin", b"page")
    assert bucket.get_object(Bucket="scans", Key="a/b.bin")["Body"].read() == b"page"
    assert read_bytes("s3://scans/a/b.bin") == b"page"
    found, = list_files("s3://scans")
    assert (found.uri, found.size) == ("s3://scans/a/b.bin", 4)
    assert found.modified.utcoffset().total_seconds() == 0
    assert [exists(f"s3://scans/{o}") for o in ("a/b.bin", "a", "a/", "b")] == [True, True, True, False]
    before = stat_file("s3://scans/a/b.bin").tag
    write_bytes("s3://scans/a/b.bin", b"PAGE")
    assert stat_file("s3://scans/a/b.bin").tag != before
    delete("s3://scans/a/b.bin")
    delete("s3://scans/a/b.bin")
    assert list_files("s3://scans") == []


@pytest.mark.parametrize("key", ["plain.jpg", "with space.jpg", "per%20cent.jpg", "plus+and&.jpg", "ünï/cödé.jpg", "hash#1.jpg", "q?.jpg",
                                 "[1]*.jpg", "model=a%20b/date=2026-03-01/x.parquet", "tilde~.jpg", "semi;colon:.jpg", "quote'\".jpg"])
def test_keys_of_every_kind(bucket, key):
    bucket.put_object(Bucket="scans", Key=key, Body=b"1")
    found, = list_files("s3://scans")
    assert found.uri == f"s3://scans/{key}"
    assert read_bytes(found.uri) == b"1"
    assert stat_file(found.uri).size == 1
    write_bytes(found.uri, b"22")
    assert [o["Key"] for o in bucket.list_objects_v2(Bucket="scans")["Contents"]] == [key]
    delete(found.uri)
    assert not exists(found.uri)


def test_a_key_that_is_no_path_is_named(bucket):
    bucket.put_object(Bucket="scans", Key="day//a.png", Body=picture())
    with pytest.raises(SourceError, match="a key with an empty, dotted or unprintable part; rename"): open_source("s3://scans")


def test_more_objects_than_one_listing_page(bucket):
    for i in range(1003): bucket.put_object(Bucket="scans", Key=f"many/{i:04d}.txt", Body=b"")
    assert [o.uri for o in list_files("s3://scans/many")] == [f"s3://scans/many/{i:04d}.txt" for i in range(1003)]


def test_a_large_object_goes_in_parts_and_comes_back_whole(bucket):
    data = np.random.default_rng(0).integers(0, 256, 12_000_000, dtype=np.uint8).tobytes()
    assert read_bytes(write_bytes("s3://scans/large.bin", data)) == data
    with open_reader("s3://scans/large.bin") as f:
        f.seek(-10, 2)
        assert f.read() == data[-10:]
        f.seek(5_000_000)
        assert f.read(7) == data[5_000_000:5_000_007]


def test_batches_below_a_prefix(bucket):
    for day in ("2026-03-01", "2026-03-02", "2026-03-10"):
        for scanner in ("s1", "s2"): bucket.put_object(Bucket="scans", Key=f"claims/{day}/{scanner}/p.png", Body=picture())
    bucket.put_object(Bucket="scans", Key="claims/2026-03-10/index.csv", Body=b"x")
    source = open_source("s3://scans/claims/", pattern="{date}/{scanner}/…")
    assert [b.name for b in source.batches] == ["2026-03-01", "2026-03-02", "2026-03-10"]
    pages = list(source)
    assert [p.uri for p in pages][:2] == ["s3://scans/claims/2026-03-01/s1/p.png", "s3://scans/claims/2026-03-01/s2/p.png"]
    assert all(p.gray.shape == (40, 30) and p.tags["scanner"] in ("s1", "s2") for p in pages)
    assert list_folders("s3://scans/claims") == ["2026-03-01", "2026-03-02", "2026-03-10"]
    for pattern in (None, "{date}/{scanner}/…"):
        newest, = open_source("s3://scans/claims", pattern=pattern, latest=True).batches
        assert (newest.name, len(newest.files), newest.ignored, newest.files[0].remote) == ("2026-03-10", 2, 1, True)


def test_latest_lists_only_the_newest_folder(bucket, monkeypatch):
    for day in ("2025-12-31", "2026-01-01"): bucket.put_object(Bucket="scans", Key=f"{day}/p.png", Body=picture())
    import ocr_quality.images.listing as listing
    asked = []
    monkeypatch.setattr(listing, "list_files", lambda uri: asked.append(uri) or list_files(uri))
    assert open_source("s3://scans", latest=True).batches[0].name == "2026-01-01"
    assert asked == ["s3://scans/2026-01-01"]


def test_glob_one_object_list_and_zip(bucket):
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as z: z.writestr("in/a.png", picture())
    for key, body in {"m/a.png": picture(), "m/b.jpg": b"no picture", "n/a.png": picture(), "m/pack.zip": file.getvalue()}.items():
        bucket.put_object(Bucket="scans", Key=key, Body=body)
    assert [o.uri for o in open_source("s3://scans/*/a.png").files] == ["s3://scans/m/a.png", "s3://scans/n/a.png"]
    assert [o.uri for o in open_source("s3://scans/n*").files] == ["s3://scans/n/a.png"]
    one = open_source("s3://scans/m/a.png")
    assert (one.batches[0].name, [p.reason for p in one]) == ("m", [None])
    listed = open_source(["s3://scans/n/a.png", "s3://scans/m/a.png", "s3://scans/m/none.png"])
    assert [p.reason for p in listed] == [None, None, "unreadable: not found"]
    page, = open_source("s3://scans/m/pack.zip")
    assert (page.uri, page.gray.shape, page.batch) == ("s3://scans/m/pack.zip!in/a.png", (40, 30), "pack")


def test_an_object_removed_after_the_listing_is_a_row_with_a_reason(bucket):
    for name in "abc": bucket.put_object(Bucket="scans", Key=f"day/{name}.png", Body=picture())
    source = open_source("s3://scans/day")
    bucket.delete_object(Bucket="scans", Key="day/b.png")
    assert [(p.uri[-5:], p.reason) for p in source] == [("a.png", None), ("b.png", "unreadable: not found"), ("c.png", None)]


def test_prefetch_keeps_order_and_its_budget(bucket):
    for i in range(20): bucket.put_object(Bucket="scans", Key=f"day/{i:02d}.png", Body=picture(i * 10))
    files = open_source("s3://scans/day").files
    got = [(f.uri, next(f.pages(data)).gray[0, 0]) for f, data in prefetch(files, ahead=4, budget=1)]
    assert got == [(f"s3://scans/day/{i:02d}.png", i * 10) for i in range(20)]


def test_the_profile_of_the_aws_files_counts(bucket, s3_server, monkeypatch, tmp_path):
    bucket.put_object(Bucket="scans", Key="a.png", Body=picture())
    for name in (*AWS, "AWS_ENDPOINT_URL"): monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[profile intake]\nregion = eu-central-1\nendpoint_url = {s3_server}\n")
    (tmp_path / "credentials").write_text("[intake]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_PROFILE", "intake")
    assert [p.gray.shape for p in open_source("s3://scans")] == [(40, 30)]
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SourceError, match="nobody.*AWS_PROFILE"): open_source("s3://scans")


def test_the_endpoint_of_s3_alone_wins(bucket, s3_server, monkeypatch):
    bucket.put_object(Bucket="scans", Key="a.png", Body=picture())
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    assert [p.gray.shape for p in open_source("s3://scans")] == [(40, 30)]


@pytest.mark.parametrize("verb", [list_files, read_bytes, exists, lambda u: write_bytes(u, b""), list_folders, open_reader])
def test_no_such_bucket_is_one_sentence(bucket, verb):
    with pytest.raises(SourceError) as e: verb("s3://no-such-bucket/day/a.png")
    assert "s3://no-such-bucket/day/a.png" in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 300


def test_nothing_under_a_prefix(bucket):
    with pytest.raises(SourceError, match="got nothing there"): open_source("s3://scans/2027")
    bucket.put_object(Bucket="scans", Key="day/readme.txt", Body=b"")
    with pytest.raises(EmptyBatchError, match="1 files of other kinds: .txt"): open_source("s3://scans/day")
    with pytest.raises(SourceError, match="expected a bucket"): open_source("s3:///day")


def test_a_dead_endpoint_answers_in_seconds(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OCR_QUALITY_REMOTE_RETRIES", "1")
    began = time.monotonic()
    with pytest.raises(SourceError, match="no answer; check the endpoint"): open_source("s3://scans/day")
    assert time.monotonic() - began < 30


class Silent(BaseHTTPRequestHandler):
    "A store that hangs up without an answer"
    def do_GET(self): self.close_connection = True
    do_HEAD = do_PUT = do_GET

    def log_message(self, *args): pass


def listen_with(digits, handler):
    "A server on a port with these digits in its number"
    for port in (p for p in range(10_000, 65_000) if digits in str(p)):
        try: return HTTPServer(("127.0.0.1", port), handler)
        except OSError: pass
    raise RuntimeError(f"no free port with {digits} in it")


@pytest.mark.parametrize("digits", ["301", "403", "404"])
@pytest.mark.parametrize("key", ["day/a.png", "credentials/403/404.png", "Forbidden/NoSuchBucket.png"])
def test_neither_port_nor_key_is_the_cause(bucket, monkeypatch, digits, key):
    with listen_with(digits, Silent) as silent:
        Thread(target=silent.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.server_port}")
        monkeypatch.setenv("OCR_QUALITY_REMOTE_RETRIES", "0")
        for verb in (list_files, read_bytes, exists, lambda u: write_bytes(u, b"")):
            with pytest.raises(SourceError, match="no answer; check the endpoint"): verb(f"s3://scans/{key}")
        silent.shutdown()


STATUS = {301: "wrong region", 401: "credentials refused", 403: "permission denied", 404: "not found", 500: "out of order", 503: "out of order"}


@pytest.mark.parametrize("status", STATUS)
def test_a_bare_status_has_its_reason(bucket, monkeypatch, status):
    class Bare(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args): pass
    with HTTPServer(("127.0.0.1", 0), Bare) as bare:
        Thread(target=bare.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bare.server_port}")
        monkeypatch.setenv("OCR_QUALITY_REMOTE_RETRIES", "0")
        with pytest.raises(SourceError) as e: read_bytes("s3://scans/credentials/a.png")
        assert e.value.reason == STATUS[status]
        bare.shutdown()


def test_the_cause_on_a_disk_is_the_systems(tmp_path):
    folder = tmp_path / "NoSuchBucket 403"
    folder.mkdir()
    with pytest.raises(SourceError, match="not a file; name a file"): read_bytes(str(folder))
    with pytest.raises(SourceError, match="not found; check the name"): read_bytes(str(folder / "timed out.png"))


def test_a_store_that_stays_silent_is_given_up(bucket, monkeypatch):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s.getsockname()[1]}")
        monkeypatch.setenv("OCR_QUALITY_REMOTE_RETRIES", "0")
        monkeypatch.setenv("OCR_QUALITY_REMOTE_TIMEOUT_S", "0.2")
        with pytest.raises(SourceError, match="no answer"): open_source("s3://scans/day")


class Moody(BaseHTTPRequestHandler):
    "A store that is out of order for its first two answers"
    def do_GET(self):
        self.server.asked += 1
        out_of_order = self.server.asked <= 2
        self.send_response(503 if out_of_order else 200)
        for name, value in {"Content-Length": "0" if out_of_order else "4", "Last-Modified": "Sun, 01 Mar 2026 08:00:00 GMT", "ETag": '"1"'}.items():
            self.send_header(name, value)
        self.end_headers()
        if not out_of_order: self.wfile.write(b"page")

    def log_message(self, *args): pass


@pytest.mark.parametrize("retries, expected", [(4, b"page"), (1, None)])
def test_an_answer_of_503_is_asked_again(bucket, monkeypatch, retries, expected):
    with HTTPServer(("127.0.0.1", 0), Moody) as moody:
        moody.asked = 0
        Thread(target=moody.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{moody.server_port}")
        monkeypatch.setenv("OCR_QUALITY_REMOTE_RETRIES", str(retries))
        if expected: assert read_bytes("s3://scans/a.bin") == expected
        else:
            with pytest.raises(SourceError): read_bytes("s3://scans/a.bin")
        assert moody.asked == min(3, retries + 1)
        moody.shutdown()


def reset_auth(server, requests_without):
    "From so many requests on, moto checks who asks"
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset-auth", data=str(requests_without).encode(), method="POST",
                                                  headers={"Content-Type": "text/plain"})).close()


def test_a_wrong_key_is_refused_in_one_sentence(bucket, s3_server, monkeypatch):
    monkeypatch.setenv("OCR_QUALITY_REMOTE_TIMEOUT_S", "30")  # moto checks keys slowly on a busy machine
    bucket.put_object(Bucket="scans", Key="day/a.png", Body=picture())
    source = open_source("s3://scans/day")
    reset_auth(s3_server, 0)
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY0000000000")
        with pytest.raises(SourceError, match="credentials refused; check the key") as e: open_source("s3://scans/day")
        assert "testing" not in str(e.value) and "\n" not in str(e.value)
        assert [p.reason for p in source] == ["unreadable: credentials refused"]
    finally: reset_auth(s3_server, "inf")


def test_no_credentials_at_all(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"): monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SourceError, match="no AWS credentials found; set AWS_PROFILE"): open_source("s3://scans")
    bucket.put_object(Bucket="scans", Key="a.png", Body=picture())
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert len(open_source("s3://scans").files) == 1
