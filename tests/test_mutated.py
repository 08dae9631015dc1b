"500 damaged files, seeded: no crash, no hang, no page lost, whatever is flipped, cut or spliced"
import io
import json
import random
import subprocess
import sys

import pytest
from PIL import Image

from ocr_quality.images.paths import PAGE_SUFFIXES
from ocr_quality.synth import page

DECODE = """
import json, sys
from ocr_quality.images.source import open_source
for p in open_source(sys.argv[1], dpi=50):
    assert (p.gray is None) != (p.reason is None), p
    print(json.dumps([p.uri, p.page, p.reason, 0 if p.gray is None else p.gray.size]))
"""

MEASURE = """
import json, sys
from ocr_quality.images.batch import measure_batch
from ocr_quality.images.source import open_source
frame = measure_batch(open_source(sys.argv[1], dpi=50), workers=2, progress=False)
names = [c for c in frame.columns if c + "_reason" in frame]
for row in frame.to_dict("records"):
    told = [m for m in names if row[m] == row[m] or isinstance(row[m + "_reason"], str)]
    print(json.dumps([row["uri"], int(row["page"]), row["reason"] if isinstance(row["reason"], str) else None, len(told)]))
"""


def synthetic():
    "A file of every format, from one synthetic page: [(suffix, bytes)]"
    gray = Image.fromarray(page(seed=3, dpi=50).gray)
    colour, bits = gray.convert("RGB"), gray.convert("1")
    kinds = [("jpg", gray, {}), ("jpg", colour, {"progressive": True}), ("jpg", colour.convert("CMYK"), {}), ("png", gray, {}),
             ("png", colour.convert("P"), {}), ("webp", colour, {}),
             ("bmp", gray, {}), ("gif", gray, {}), ("jp2", colour, {}), ("tif", bits, {"compression": "group4"}),
             ("tif", gray, {"compression": "tiff_lzw"}), ("tif", gray, {"save_all": True, "append_images": [bits, colour]}),
             ("tif", colour, {"compression": "jpeg"}), ("pdf", colour, {"save_all": True, "append_images": [bits, gray]}), ("pgm", gray, {})]
    return [(suffix, saved(picture, suffix, options)) for suffix, picture, options in kinds]


def saved(picture, suffix, options):
    file = io.BytesIO()
    picture.copy().save(file, {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000", "pgm": "PPM"}.get(suffix, suffix.upper()), **options)
    return file.getvalue()


def real(folder):
    "Sixty of the smaller real files and every one that is no JPEG, the small ones also as TIFF and PDF"
    files = sorted((o for o in folder.rglob("*") if o.suffix.lower() in PAGE_SUFFIXES), key=lambda o: (o.stat().st_size, o.name))
    chosen = [o for o in files if o.suffix.lower() not in (".jpg", ".jpeg")][:20] + [o for o in files if o.suffix.lower() in (".jpg", ".jpeg")][:40]
    found = [(o.suffix.lower()[1:], o.read_bytes()) for o in chosen]
    for o in chosen[-8:]:
        with Image.open(o) as im:
            found += [("tif", saved(im.convert("1"), "tif", {"compression": "group4"})), ("pdf", saved(im.convert("L"), "pdf", {}))]
    return found


def mutated(data, others, rng):
    "`data` with bytes changed, cut off, taken out, doubled, or continued by another file"
    data, verb, at = bytearray(data), rng.choice(["flip", "head", "cut", "hole", "double", "splice"]), rng.randrange(len(data))
    if verb == "flip":
        for _ in range(rng.randint(1, 40)): data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if verb == "head":
        for _ in range(rng.randint(1, 8)): data[rng.randrange(min(500, len(data)))] = rng.randrange(256)
    if verb == "cut": del data[at:]
    if verb == "hole": data[at:at + rng.randint(1, 3000)] = b""
    if verb == "double": data[at:at] = data[at:at + rng.randint(1, 3000)]
    if verb == "splice":
        other = rng.choice(others)
        data[at:] = other[rng.randrange(len(other)):]
    return bytes(data)


def check(folder, originals, script, count=500):
    "Write the damaged files, run `script` over them in a process of its own, and account for every file"
    rng, others, names = random.Random(20260301), [o for _, o in originals], []
    for i in range(count):
        suffix, data = originals[i % len(originals)]
        names.append(str(folder / f"{i:03d}.{suffix}"))
        (folder / f"{i:03d}.{suffix}").write_bytes(mutated(data, others, rng))
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(o) for o in done.stdout.splitlines()]
    pages = {}
    for uri, number, reason, told in rows:
        pages.setdefault(uri, []).append(number)
        assert (reason is None) == (told > 0), (uri, number, reason, told)
        assert reason is None or reason.split(":")[0] in ("unreadable", "too large", "empty file", "encrypted PDF"), reason
    assert list(pages) == names
    assert all(o == list(range(1, len(o) + 1)) for o in pages.values())
    reasons = {o[2] for o in rows}
    assert None in reasons and "unreadable: truncated JPEG" in reasons


@pytest.mark.parametrize("script", [DECODE, MEASURE], ids=["decode", "measure_batch"])
def test_damaged_synthetic_files(script, tmp_path):
    check(tmp_path, synthetic(), script, 250)


@pytest.mark.parametrize("script", [DECODE, MEASURE], ids=["decode", "measure_batch"])
def test_damaged_real_files(script, tmp_path, shared):
    check(tmp_path, real(shared), script)
