"Sources: what is a page, which batch it belongs to, when that was, and what is said when there is nothing"
import io
import os
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ocr_quality.images.source as source_module
from ocr_quality.core import EmptyBatchError, SettingsError, SourceError, TimeError, format_time
from ocr_quality.images.paths import compile_pattern, is_page_name, place_of
from ocr_quality.images.source import File, open_source, prefetch
from ocr_quality.objects import delete, exists, is_remote, list_files, local_path, read_bytes, stat_file, write_bytes

PAGE = cv2.imencode(".png", np.full((40, 30), 200, np.uint8))[1].tobytes()


def fill(folder, *names, data=PAGE):
    "Write a page under each name"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


def told(source):
    "{batch: paths below it}"
    return {b.name: [Path(f.uri).name for f in b.files] for b in source.batches}


# Which files are pages

@pytest.mark.parametrize("name, expected", [
    ("a.jpg", True), ("a.JPEG", True), ("a.b.Tif", True), ("claim.pdf", True), ("phone.heic", True),
    ("x.jp2", True), ("s7/2026/a.webp", True), ("a.djvu", True),
    ("a.txt", False), ("a", False), ("a.csv", False), ("a.jpg.txt", False), (".jpg", False), ("._a.jpg", False), (".DS_Store", False),
    (".cache/a.jpg", False), ("__MACOSX/._a.jpg", False), ("__MACOSX/a.jpg", False), ("a.zip", False), ("Thumbs.db", False), ("a.jpg~", False)])
def test_names(name, expected):
    assert is_page_name(name) is expected


def test_every_file_is_accounted_for(tmp_path):
    folder = fill(tmp_path / "scans", "a.png", "B.PNG", "sub/c.png")
    fill(tmp_path / "scans", "torn.jpg", data=b"some text")
    fill(tmp_path / "scans", "empty.png", data=b"")
    fill(tmp_path / "scans", "a.gt.txt", "notes", "x.csv", ".DS_Store", "__MACOSX/._a.png", ".git/a.png", data=b"x")
    source = open_source(folder)
    assert len(source.files) + len(source.ignored) == 11
    assert {Path(p.uri).name: p.reason for p in source} == {
        "B.PNG": None, "a.png": None, "c.png": None, "empty.png": "empty file", "torn.jpg": "unreadable: not an image or PDF"}
    assert source.batches[0].ignored == len(source.ignored) == 6


def test_the_real_files_are_all_accounted_for(shared):
    source = open_source(str(shared))
    on_disk = sum(len(names) for _, _, names in os.walk(shared))
    assert len(source.files) + len(source.ignored) == on_disk
    assert {Path(o).suffix for o in source.ignored} <= {".txt", ".csv", ""}


def test_no_real_page_is_refused(shared):
    pages = list(open_source(str(shared)))
    assert len(pages) > 500
    assert [(p.uri, p.reason) for p in pages if p.reason] == []


# Kinds of sources

def test_order_is_the_same_every_time(tmp_path):
    folder = fill(tmp_path / "s", *(f"{d}/{n}.png" for d in "ba" for n in ("10", "9", "2")))
    names = [f.uri for f in open_source(folder).files]
    assert names == sorted(names) == [f.uri for f in open_source(folder).files]


def test_one_file_is_a_page_whatever_its_name(tmp_path):
    folder = fill(tmp_path / "inbox", "page.png", "scan.dat")
    assert told(open_source(f"{folder}/page.png")) == {"inbox": ["page.png"]}
    assert [p.gray.shape for p in open_source(Path(folder) / "scan.dat")] == [(40, 30)]
    assert told(open_source(Path(folder).as_uri())) == {"inbox": ["page.png"]}


@pytest.mark.parametrize("glob, expected", [
    ("*.png", ["a.png"]), ("**/*.png", ["a.png", "b.png", "c.png"]), ("x?/*.png", ["b.png", "c.png"]), ("x[12]", ["b.png", "c.png"]),
    ("x1/*", ["b.png"]), ("*/b.*", ["b.png"])])
def test_globs(tmp_path, glob, expected):
    folder = fill(tmp_path / "scans", "a.png", "x1/b.png", "x2/c.png")
    assert sorted(Path(f.uri).name for f in open_source(f"{folder}/{glob}").files) == expected


def test_a_name_with_brackets_is_no_glob(tmp_path):
    folder = fill(tmp_path / "scans [2026]", "a*.png")
    assert told(open_source(folder)) == {"scans [2026]": ["a*.png"]}
    assert told(open_source(f"{folder}/a*.png")) == {"scans [2026]": ["a*.png"]}


def test_a_relative_source(tmp_path, monkeypatch):
    fill(tmp_path / "scans" / "2026-03-01", "a.png")
    monkeypatch.chdir(tmp_path / "scans")
    assert told(open_source(".")) == {"2026-03-01": ["a.png"]}
    assert told(open_source("*/a.png")) == {"2026-03-01": ["a.png"]}
    monkeypatch.chdir(tmp_path / "scans" / "2026-03-01")
    assert told(open_source("a.png")) == told(open_source(".")) == {"2026-03-01": ["a.png"]}
    assert format_time(open_source(".").batches[0].time) == "2026-03-01T00:00:00Z"


SPELLINGS = ["{in}", "{in}/", "{in}//", "{in}/.", "/{in}", "{in}/../in", "in", "./in", "in/", "../top/in", "in/../in", "in/b/.."]
GLOBS = ["{in}/**/*.png", "in/**/*.png", "./in/**/*.png", "../top/in/**/*.png", "in/../in/**/*.png", "i[n]/**/*.png"]


def seen(uri, **options):
    "All that the log and the report take from a source"
    source = open_source(uri, **options)
    return ([(b.name, b.time, b.ignored, [(f.uri, f.tags, f.fingerprint) for f in b.files]) for b in source.batches], sorted(source.ignored),
            source.unmatched, [p.uri for p in source])


@pytest.fixture
def inside(tmp_path, monkeypatch):
    "Makes names of a folder `in`, of which the working folder is the parent"
    if os.name == "nt": pytest.skip("the spellings are those of other systems")
    fill(tmp_path / "top [1]*" / "in", "2026-03-01/s1/a.png", "2026-03-02/s1/b.png", "b/c.png", "note.txt")
    packed(tmp_path / "top [1]*" / "in" / "z.zip", {"x/d.png": PAGE, "e.txt": b""})
    (tmp_path / "top").symlink_to(tmp_path / "top [1]*")
    monkeypatch.setenv("HOME", str(tmp_path / "top"))
    monkeypatch.chdir(tmp_path / "top")
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "top"))
    return lambda name: name.replace("{in}", str(tmp_path / "top" / "in"))


@pytest.mark.parametrize("spelling", [*SPELLINGS, "~/in", "file://{in}"])
def test_a_folder_has_one_name_however_it_is_spelled(inside, spelling):
    for options in ({}, {"pattern": "{date}/{scanner}/…"}, {"latest": True}, {"batch": "all"}):
        assert seen(inside(spelling), **options) == seen(inside("{in}"), **options)
        assert all(o.startswith(inside("{in}/")) for o in sum(seen(inside(spelling), **options)[1:], []))


@pytest.mark.parametrize("spelling", [*GLOBS, "~/in/**/*.png"])
def test_a_glob_gives_files_the_names_that_the_folder_gives(inside, spelling):
    assert seen(inside(spelling))[3] == seen(inside("{in}"))[3]


@pytest.mark.parametrize("name", ["b/c.png", "z.zip", "note.txt"])
def test_a_file_and_a_zip_have_one_name(inside, name):
    first = seen(inside(f"{{in}}/{name}"))
    assert all(seen(inside(f"{o}/{name}")) == first for o in SPELLINGS)
    assert first[3] == [inside(f"{{in}}/{name}") + ("!x/d.png" if name == "z.zip" else "")]


def test_a_list_counts_a_file_once_however_it_is_spelled(inside):
    names = ["b/c.png", "2026-03-01/s1/a.png", "z.zip", "gone.png", "note.txt"]
    first = seen([inside(f"{{in}}/{n}") for n in names])
    assert seen([inside(f"{o}/{n}") for n in names for o in SPELLINGS]) == first and len(first[3]) == 4
    assert first[0][0][0] == "in" and first[1] == [inside("{in}/note.txt"), inside("{in}/z.zip!e.txt")]
    assert len(seen(["in", "in/b/c.png", "in/**/*.png"])[3]) == 3


def test_a_relative_glob_below_a_folder_with_brackets(inside, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "top [1]*")
    assert [Path(p.uri).relative_to(tmp_path).as_posix() for p in open_source("in/*/*.png")] == ["top [1]*/in/b/c.png"]


def test_a_list_keeps_its_order_and_is_one_batch(tmp_path):
    folder = fill(tmp_path / "scans", "2026-03-01/b.png", "2026-03-02/a.png", "note.txt")
    uris = [f"{folder}/2026-03-02/a.png", f"{folder}/2026-03-01/b.png", f"{folder}/note.txt", f"{folder}/gone.png", f"{folder}/2026-03-02/a.png"]
    source = open_source(uris)
    assert told(source) == {"scans": ["a.png", "b.png", "gone.png"]}
    assert [p.reason for p in source] == [None, None, "unreadable: not found"]
    assert source.ignored == [f"{folder}/note.txt"]
    assert list(told(open_source(uris, pattern="{date}/…"))) == ["2026-03-01", "2026-03-02", "scans"]
    assert [b.name for b in open_source(iter(uris), batch="mine").batches] == ["mine"]
    with pytest.raises(SourceError, match="do not exist"): open_source([f"{folder}/x.png", f"{folder}/y.png"])
    with pytest.raises(EmptyBatchError, match="empty one"): open_source([])


def test_folders_zips_and_globs_in_a_list(tmp_path):
    folder = fill(tmp_path / "scans", "a/1.png", "b/2.png", "b/3.png")
    with zipfile.ZipFile(f"{folder}/z.zip", "w") as z: z.writestr("4.png", PAGE)
    pages = list(open_source([f"{folder}/a", f"{folder}/b/*.png", f"{folder}/z.zip"]))
    assert [Path(p.uri).name for p in pages] == ["1.png", "2.png", "3.png", "z.zip!4.png"]
    assert all(p.reason is None for p in pages)


def test_links(tmp_path):
    if sys.platform == "win32": pytest.skip("links need a privilege on Windows")
    folder = Path(fill(tmp_path / "scans", "a/1.png"))
    fill(tmp_path / "elsewhere", "2.png")
    (folder / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "latest").symlink_to(folder / "a", target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "lost.png").symlink_to(tmp_path / "nowhere.png")
    assert [(Path(p.uri).name, p.reason) for p in open_source(folder)] == [("1.png", None), ("lost.png", "unreadable: not found"), ("2.png", None)]


def test_what_is_no_regular_file_is_left_alone(tmp_path):
    if not hasattr(os, "mkfifo"): pytest.skip("no named pipes here")
    folder = fill(tmp_path / "scans", "a.png")
    os.mkfifo(tmp_path / "scans" / "pipe.png")
    assert told(open_source(folder)) == {"scans": ["a.png"]}


def test_a_name_that_is_not_utf8_can_be_read_and_stored(tmp_path):
    if sys.platform != "linux": pytest.skip("file names are Unicode here")
    fill(tmp_path / "scans", "a.png")
    with open(os.fsencode(tmp_path / "scans") + b"/caf\xe9.png", "wb") as f: f.write(PAGE)
    pages = list(open_source(tmp_path / "scans"))
    assert [p.reason for p in pages] == [None, None]
    assert pages[1].uri.encode("utf-8").endswith(b"caf\\xe9.png")
    os.rename(os.fsencode(tmp_path / "scans"), os.fsencode(tmp_path) + b"/sc\xe4ns")
    for name in (os.fsdecode(os.fsencode(tmp_path) + b"/sc\xe4ns"), f"{tmp_path}/sc\\xe4ns", f"{tmp_path}/*ns", f"{tmp_path}/sc\\xe4ns/caf\\xe9.png"):
        pages = list(open_source(name))
        assert pages[-1].uri == f"{tmp_path}/sc\\xe4ns/caf\\xe9.png" and pages[-1].reason is None
        assert {p.batch for p in pages} <= {"sc\udce4ns", Path(tmp_path).name}


# Zips

def packed(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as z:
        for name, data in members.items(): z.writestr(name, data)
    return str(path)


def test_a_zip(tmp_path):
    path = packed(tmp_path / "claims.zip", {"../../evil.png": PAGE, "2026-03-02/b.png": PAGE, "2026-03-01/a.png": PAGE, "2026-03-01/x.txt": b"",
                                            "__MACOSX/._a.png": b"", "empty/": b"", "2026-03-01/torn.png": b"x"})
    os.utime(path, (1_700_000_000, 1_700_000_000))
    source = open_source(path)
    assert {b.name: format_time(b.time) for b in source.batches} == {
        "2026-03-01": "2026-03-01T00:00:00Z", "2026-03-02": "2026-03-02T00:00:00Z", "claims": "2023-11-14T22:13:20Z"}
    assert [(p.uri.removeprefix(path), p.reason) for p in source] == [
        ("!../../evil.png", None), ("!2026-03-01/a.png", None),
        ("!2026-03-01/torn.png", "unreadable: not an image or PDF"), ("!2026-03-02/b.png", None)]
    assert len(source.ignored) == 2
    assert not (tmp_path.parent / "evil.png").exists()
    assert [b.name for b in open_source(path, latest=True).batches] == ["2026-03-02"]


def test_a_zip_is_read_by_many_threads(tmp_path):
    values = {f"{i:03d}.png": cv2.imencode(".png", np.full((40, 30 + i % 7), i, np.uint8))[1].tobytes() for i in range(100)}
    files = open_source(packed(tmp_path / "z.zip", values)).files
    with ThreadPoolExecutor(8) as pool: got = list(pool.map(lambda f: next(f.pages()).gray[0, 0], files * 3))
    assert got == list(range(100)) * 3


def test_a_zip_whose_name_has_a_day(tmp_path):
    path = packed(tmp_path / "claims_20260301.zip", {"a.png": PAGE})
    assert [(b.name, format_time(b.time)) for b in open_source(path).batches] == [("claims_20260301", "2026-03-01T00:00:00Z")]


def locked(path):
    "A zip whose only member says that it is encrypted"
    data = bytearray(Path(packed(path, {"a.png": PAGE, "b.png": PAGE})).read_bytes())
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    return str(path)


def test_bad_zips(tmp_path):
    assert [p.reason for p in open_source(locked(tmp_path / "locked.zip"))] == ["unreadable: encrypted zip member", None]
    path = Path(packed(tmp_path / "torn.zip", {"a.png": PAGE, "b.png": PAGE}))
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    assert [p.reason for p in open_source(str(path))] == ["unreadable: damaged zip member", None]
    (tmp_path / "text.zip").write_bytes(b"no archive")
    with pytest.raises(SourceError, match="expected a zip archive"): open_source(str(tmp_path / "text.zip"))
    path.write_bytes(packed_bytes := Path(packed(tmp_path / "whole.zip", {"a.png": PAGE})).read_bytes())
    path.write_bytes(packed_bytes[:-30])
    with pytest.raises(SourceError, match="got a broken one"): open_source(str(path))
    with pytest.raises(EmptyBatchError): open_source(packed(tmp_path / "none.zip", {"a.txt": b""}))


def test_a_zip_bomb_is_refused_by_its_stated_size(tmp_path, monkeypatch):
    path = packed(tmp_path / "bomb.zip", {"a.png": b"\0" * 3_000_000, "b.png": PAGE}, compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(source_module, "MAX_FILE_BYTES", 1 << 20)
    assert [p.reason for p in open_source(path)] == ["too large: 3 MB, limit 1", None]


def test_a_zip_that_was_replaced_is_read_anew(tmp_path):
    path = packed(tmp_path / "z.zip", {"a.png": PAGE})
    first = open_source(path)
    assert [p.gray[0, 0] for p in first] == [200]
    packed(path, {"a.png": cv2.imencode(".png", np.full((40, 31), 9, np.uint8))[1].tobytes(), "b.png": PAGE})
    second = open_source(path)
    assert [p.gray[0, 0] for p in second] == [9, 200]
    assert first.files[0].fingerprint != second.files[0].fingerprint


# Batches

TREE = ["2026-03-02/s1/a.png", "2026-03-01/s1/a.png", "2026-03-01/s2/b.png", "2026-03-10/s1/a.png"]


def test_dated_folders_are_batches_in_order(tmp_path):
    source = open_source(fill(tmp_path / "scans", *TREE))
    assert [(b.name, format_time(b.time), len(b.files)) for b in source.batches] == [
        ("2026-03-01", "2026-03-01T00:00:00Z", 2), ("2026-03-02", "2026-03-02T00:00:00Z", 1), ("2026-03-10", "2026-03-10T00:00:00Z", 1)]
    assert [p.batch for p in source] == ["2026-03-01"] * 2 + ["2026-03-02", "2026-03-10"]
    assert all(p.time == b.time for b in source.batches for p in b)


def test_dated_folders_below_others_join_by_day(tmp_path):
    source = open_source(fill(tmp_path / "scans", "s1/20260301/a.png", "s2/20260301/b.png", "s2/20260302/c.png"))
    assert told(source) == {"20260301": ["a.png", "b.png"], "20260302": ["c.png"]}


def test_the_pattern_gives_tags_and_batches(tmp_path):
    folder = fill(tmp_path / "in", "zurich/s7/2026-03-01/claim/1.png", "bern/s1/2026-03-01/1.png", "bern/s1/2026-02-28/1.png", "stray.png")
    source = open_source(folder, pattern="{branch}/{scanner}/{date}/…")
    assert [b.name for b in source.batches][:2] == ["2026-02-28", "2026-03-01"]
    assert [f.tags for f in source.batches[1].files] == [{"branch": "bern", "scanner": "s1"}, {"branch": "zurich", "scanner": "s7"}]
    stray = source.batches[2]
    assert (stray.name, [f.tags for f in stray.files], [Path(o).name for o in source.unmatched]) == ("in", [{}], ["stray.png"])


@pytest.mark.parametrize("pattern, path, name, tags", [
    ("{branch}/{scanner}/{date}/…", "b/s/2026-03-01/x/y.png", "2026-03-01", {"branch": "b", "scanner": "s"}),
    ("{branch}/{scanner}/{date}/...", "b/s/2026-03-01/y.png", "2026-03-01", {"branch": "b", "scanner": "s"}),
    ("{branch}/{scanner}/{date}/*", "b/s/2026-03-01/y.png", "2026-03-01", {"branch": "b", "scanner": "s"}),
    ("{branch}/{scanner}/{date}", "b/s/2026-03-01/y.png", "2026-03-01", {"branch": "b", "scanner": "s"}),
    ("/{branch}/{date}/", "b/2026-03-01/y.png", "2026-03-01", {"branch": "b"}),
    ("{batch}/{form}_{number}.png", "march/claim_17.png", "march", {"form": "claim", "number": "17"}),
    ("…/{date}/{scanner}.png", "x/y/20260301/s1.png", "20260301", {"scanner": "s1"}),
    ("*/{scanner}-{date}.pdf", "in/s1-2026-03-01.pdf", "2026-03-01", {"scanner": "s1"}),
    ("dt={date}/src={scanner}/…", "dt=2026-03-01/src=7/a.png", "2026-03-01", {"scanner": "7"}),
    ("{date}/{batch}/…", "2026-03-01/am/a.png", "2026-03-01 am", {}),
    ("{year}/{month}/{day}/…", "2026/03/01/a.png", "2026-03-01", {}),
    ("{scanner}/…", "s1/a.png", None, {"scanner": "s1"}),
    ("{scanner}/…", "s1/2026-03-01/a.png", "2026-03-01", {"scanner": "s1"}),
    ("a+b/{scanner}/…", "a+b/s1/x.png", None, {"scanner": "s1"})])
def test_patterns(pattern, path, name, tags):
    place = place_of(path, compile_pattern(pattern))
    assert (place.name, place.tags, place.matched) == (name, tags, True)


@pytest.mark.parametrize("pattern", ["{", "}", "{a}/{a}", "{}", "{a b}/x", "{1}", "x{{y}}"])
def test_bad_patterns(pattern, tmp_path):
    with pytest.raises(SettingsError, match="expected"): open_source(fill(tmp_path, "a.png"), pattern=pattern)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab-_.()+[]$ ü", min_size=1, max_size=6), min_size=3, max_size=3))
def test_a_pattern_finds_what_a_path_was_made_of(parts):
    place = place_of("/".join(parts) + "/x.png", compile_pattern("{one}/{two}/{three}/…"))
    assert list(place.tags.values()) == parts


@pytest.mark.parametrize("kwargs, name, time", [
    ({}, "inbox", "2023-11-14T22:13:20Z"),
    ({"time": "2026-05-01T08:00:00+02:00"}, "inbox", "2026-05-01T06:00:00Z"),
    ({"time": datetime(2026, 5, 1, tzinfo=UTC)}, "inbox", "2026-05-01T00:00:00Z"),
    ({"time": "2026-05-01"}, "inbox", "2026-05-01T00:00:00Z"),
    ({"batch": "may"}, "may", "2023-11-14T22:13:20Z"),
    ({"batch": "may", "time": "2026-05-01"}, "may", "2026-05-01T00:00:00Z"),
    ({"pattern": "{batch}.png"}, "b", "2023-11-14T22:13:20Z")])
def test_name_and_time_of_an_undated_folder(tmp_path, kwargs, name, time):
    folder = fill(tmp_path / "inbox", "a.png", "b.png")
    os.utime(tmp_path / "inbox" / "a.png", (1_600_000_000, 1_600_000_000))
    os.utime(tmp_path / "inbox" / "b.png", (1_700_000_000, 1_700_000_000))
    newest = open_source(folder, **kwargs).batches[-1]
    assert (newest.name, format_time(newest.time)) == (name, time)


def test_the_date_of_the_pattern_wins_over_the_time_given(tmp_path):
    folder = fill(tmp_path / "in", "2026-03-01/a.png")
    for pattern in (None, "{date}/…"):
        only, = open_source(folder, pattern=pattern, time="2020-01-01").batches
        assert format_time(only.time) == "2026-03-01T00:00:00Z"


def test_a_dated_folder_is_the_same_batch_by_itself_and_among_others(tmp_path):
    folder = fill(tmp_path / "scans", *TREE)
    alone, = open_source(f"{folder}/2026-03-02").batches
    among = next(b for b in open_source(folder).batches if b.name == "2026-03-02")
    assert (alone.name, alone.time, [f.uri for f in alone.files]) == (among.name, among.time, [f.uri for f in among.files])


@pytest.mark.parametrize("time", ["2026-05-01T08:00:00", "yesterday", datetime(2026, 5, 1)])
def test_a_time_without_a_zone_is_refused(tmp_path, time):
    with pytest.raises(TimeError): open_source(fill(tmp_path, "a.png"), time=time)


@pytest.mark.parametrize("pattern", [None, "{date}/…"])
def test_latest_is_the_newest_folder_not_the_newest_file(tmp_path, pattern):
    folder = fill(tmp_path / "scans", *TREE, "stray.png", "notes/n.png")
    os.utime(tmp_path / "scans" / "2026-03-10/s1/a.png", (0, 0))
    newest, = open_source(folder, pattern=pattern, latest=True).batches
    assert (newest.name, len(newest.files)) == ("2026-03-10", 1)


def test_latest_of_undated_batches_goes_by_time(tmp_path):
    folder = fill(tmp_path / "scans", "z/a.png", "b/a.png")
    for name, when in (("z", 1_600_000_000), ("b", 1_700_000_000)): os.utime(tmp_path / "scans" / name / "a.png", (when, when))
    assert [b.name for b in open_source(folder, pattern="{batch}/…", latest=True).batches] == ["b"]


def test_the_newest_folder_without_a_page_is_an_error_not_yesterday(tmp_path):
    folder = fill(tmp_path / "scans", *TREE)
    (tmp_path / "scans" / "2026-03-11").mkdir()
    with pytest.raises(EmptyBatchError, match="the newest batch 2026-03-11 of"): open_source(folder, latest=True)
    (tmp_path / "scans" / "2026-03-11" / "index.csv").write_text("")
    for pattern in (None, "{date}/…"):
        with pytest.raises(EmptyBatchError, match="newest batch 2026-03-11 of .* .1 files of other kinds: .csv"):
            open_source(folder, latest=True, pattern=pattern)
    assert len(open_source(folder).batches) == 3


# What is not there

def test_nothing_there(tmp_path):
    for uri in (tmp_path / "none", tmp_path / "none.jpg", tmp_path / "none.zip", tmp_path / "*.jpg"):
        with pytest.raises(SourceError, match="expected .*got no|expected .* got none") as e: open_source(uri)
        assert not isinstance(e.value, EmptyBatchError)
        assert str(e.value).count("\n") == 0
    with pytest.raises(SourceError, match="expected a path or one of s3://"): open_source("ftp://host/scans")
    with pytest.raises(EmptyBatchError, match="nothing is measured"): open_source(tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path):
    if os.name == "nt" or os.geteuid() == 0: pytest.skip("everything may be read here")
    fill(tmp_path / "scans" / "locked", "a.png")
    (tmp_path / "scans" / "locked").chmod(0)
    try:
        with pytest.raises(SourceError, match="permission denied"): open_source(tmp_path / "scans")
    finally: (tmp_path / "scans" / "locked").chmod(0o755)


def test_a_file_removed_after_the_listing(tmp_path):
    source = open_source(fill(tmp_path / "scans", "a.png", "b.png"))
    (tmp_path / "scans" / "a.png").unlink()
    assert [p.reason for p in source] == ["unreadable: not found", None]


# Laziness

def test_opening_reads_nothing(tmp_path, monkeypatch):
    folder = fill(tmp_path / "scans", *TREE)
    monkeypatch.setattr(source_module, "read_bytes", lambda uri: pytest.fail(f"read {uri}"))
    monkeypatch.setattr(source_module, "decode_pages", lambda *a: pytest.fail("decoded"))
    assert len(open_source(folder, pattern="{date}/{scanner}/…").files) == 4


def test_pages_come_lazily(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(source_module, "read_bytes", lambda uri: read.append(uri) or read_bytes(uri))
    pages = iter(open_source(fill(tmp_path / "scans", *TREE)))
    next(pages)
    assert len(read) == 1


def test_settings_reach_the_decoder(tmp_path, monkeypatch):
    file = io.BytesIO()
    Image.new("L", (100, 200)).save(file, "PDF", resolution=100)
    folder = fill(tmp_path / "scans", "a.pdf", data=file.getvalue())
    assert [p.gray.shape for p in open_source(folder, dpi=50)] == [(100, 50)]
    monkeypatch.setenv("OCR_QUALITY_DPI", "100")
    assert [p.gray.shape for p in open_source(folder)] == [(200, 100)]
    monkeypatch.setenv("OCR_QUALITY_MAX_MEGAPIXELS", "0.01")
    assert [p.reason for p in open_source(folder)] == ["too large: 0.02 megapixels, limit 0.01"]
    assert [p.reason for p in open_source(folder, max_megapixels=1)] == [None]


@pytest.mark.parametrize("kwargs", [{"dpi": 0}, {"dpi": -200}, {"max_megapixels": 0}, {"dpi": float("nan")}])
def test_senseless_settings_are_refused(tmp_path, kwargs):
    with pytest.raises(SettingsError, match="above 0"): open_source(fill(tmp_path, "a.png"), **kwargs)


def test_the_fingerprint_changes_with_the_file(tmp_path):
    folder = fill(tmp_path / "scans", "a.png")
    first = open_source(folder).files[0].fingerprint
    assert open_source(folder).files[0].fingerprint == first
    os.utime(tmp_path / "scans" / "a.png", (1, 1))
    assert open_source(folder).files[0].fingerprint != first


def test_prefetch_is_bounded_and_stops_when_asked():
    started, class_ = [], File

    class Slow(class_):
        def read(self):
            started.append(self.uri)
            return b"x" * self.size

    files = [Slow(str(i), size=10) for i in range(50)]
    ahead = prefetch(files, ahead=4, budget=1000)
    assert next(ahead) == (files[0], b"x" * 10)
    assert len(started) <= 5
    ahead.close()
    assert len(started) <= 5
    assert [f.uri for f, _ in prefetch(files, ahead=4, budget=15)] == [str(i) for i in range(50)]


# Objects on a disk

def test_write_bytes_is_whole_or_not_at_all(tmp_path, monkeypatch):
    target = str(tmp_path / "deep" / "a.bin")
    write_bytes(target, b"old")
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("no power")))
    with pytest.raises(SourceError, match="no power"): write_bytes(target, b"new")
    assert (read_bytes(target), os.listdir(tmp_path / "deep")) == (b"old", ["a.bin"])


def test_what_a_disk_refuses_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for act in (lambda: write_bytes(str(tmp_path / "file" / "x"), b""), lambda: read_bytes(str(tmp_path)), lambda: read_bytes(str(tmp_path / "none")),
                lambda: read_bytes("a\0b"), lambda: delete(str(tmp_path))):
        with pytest.raises(SourceError, match="expected to reach .*, got: .*; ") as e: act()
        assert "\n" not in str(e.value)


def test_local_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ü 1.txt").write_bytes(b"1")
    assert read_bytes("~/ü 1.txt") == read_bytes((tmp_path / "ü 1.txt").as_uri()) == b"1"
    assert [is_remote(o) for o in ("a:b/c.jpg", "C:/x", "s3://b/k", "S3://b/k", "gs://b/k", "az://b/k")] == [False, False, True, True, True, True]
    assert local_path("~").as_posix() == tmp_path.as_posix()
    assert [o.uri for o in list_files(tmp_path)] == [str(tmp_path / "ü 1.txt")]
    assert (exists(str(tmp_path)), stat_file(str(tmp_path)), list_files(str(tmp_path / "none"))) == (True, None, [])


def test_a_link_to_itself_is_a_page_that_cannot_be_read(tmp_path):
    cv2.imwrite(str(tmp_path / "good.png"), np.full((40, 30), 200, np.uint8))
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert {Path(p.uri).name: p.reason is None for p in open_source(tmp_path)} == {"good.png": True, "loop.png": False}


@pytest.mark.parametrize("uri", ["", "  "])
def test_an_empty_name_is_not_the_present_folder(uri):
    with pytest.raises(SourceError, match="empty name"): open_source(uri)
