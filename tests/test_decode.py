"Every format in, grey out; everything bad, a reason"
import io
import struct
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

import ocr_quality.images.decode as decode
from ocr_quality.images.decode import decode_pages, luma

RAMP = (np.add.outer(np.arange(64), 2 * np.arange(96)) % 256).astype(np.uint8)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def saved(picture, kind, **options):
    "Bytes of an array or image as a file"
    file = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if kind == "HEIC":
        pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
        pillow_heif.from_pillow(picture).save(file, quality=-1, **options)
    else: picture.save(file, kind, **options)
    return file.getvalue()


def only(data, **options):
    "The only page of a file"
    page, = decode_pages(data, "scan", **options)
    assert (page.gray is None) != (page.reason is None)
    assert page.gray is None or (page.gray.dtype == np.uint8 and page.gray.ndim == 2 and page.gray.flags.c_contiguous)
    return page


def pdf(*objects, trailer=b""):
    "A PDF of the numbered `objects`, the first its catalogue"
    out, places = b"%PDF-1.4\n", []
    for i, o in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (i, o)
    table = b"".join(b"%010d 00000 n \n" % o for o in places)
    return out + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF" % (
        len(places) + 1, table, len(places) + 1, trailer, len(out))


def pdf_page(width=72, height=72, content=b"", more=b""):
    "A PDF with one page of the given points and drawing operators"
    return pdf(b"<< /Type /Catalog /Pages 2 0 R %s >>" % more, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
               b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 4 0 R /Annots [5 0 R] >>" % (width, height),
               b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content), b"null")


LOSSLESS = [("PNG", {}), ("BMP", {}), ("GIF", {}), ("JPEG2000", {}), ("PPM", {}), ("WEBP", {"lossless": True}), ("HEIC", {}), ("TIFF", {}),
            *(("TIFF", {"compression": o}) for o in ("tiff_lzw", "tiff_adobe_deflate", "packbits"))]


@pytest.mark.parametrize("kind, options", LOSSLESS)
def test_grey_comes_back_as_it_went_in(kind, options):
    picture = Image.fromarray(RAMP)
    got = only(saved(picture.convert("RGB") if kind in ("WEBP", "HEIC") else picture, kind, **options)).gray
    assert np.abs(got.astype(int) - RAMP).max() <= (1 if kind == "HEIC" else 0)


@pytest.mark.parametrize("kind, options", [*LOSSLESS, ("PDF", {}), ("AVIF", {"quality": 100}), ("JPEG", {"quality": 100, "subsampling": 0}),
                                           ("TIFF", {"compression": "jpeg", "quality": 100})])
@pytest.mark.parametrize("colour, value", [(RED, 76), (GREEN, 150), (BLUE, 29), ((255, 255, 255), 255)])
def test_colours_are_read_in_their_order(kind, options, colour, value):
    got = only(saved(Image.new("RGB", (40, 24), colour), kind, **options)).gray
    lossy = (kind, options) not in LOSSLESS or kind == "HEIC"
    assert np.abs(got.astype(int) - value).max() <= (2 if kind == "PDF" else 1 if lossy else 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_luma_is_matlab_s(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    exact = np.floor(pixels @ np.array([0.298936021293775, 0.587043074451121, 0.114020904255103]) + 0.5)
    np.testing.assert_array_equal(luma(pixels), exact)


@pytest.mark.parametrize("g", range(0, 256, 15))
def test_luma_of_grey_is_that_grey(g):
    assert (luma(np.full((2, 2, 3), g, np.uint8)) == g).all()


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_luma_refuses_what_is_no_colour_picture(bad):
    with pytest.raises(ValueError, match="expected RGB or RGBA"): luma(bad)


def test_jpeg_is_the_decoder_s_y():
    colours = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = saved(cv2.resize(colours, (160, 120)), "JPEG", quality=90)
    y = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(only(data).gray, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
    assert np.abs(only(data).gray.astype(int) - luma(y)).mean() < 2


@pytest.mark.parametrize("compression", ["group3", "group4", "packbits", "raw", "tiff_lzw"])
def test_one_bit_tiff(compression):
    bits = RAMP > 100
    assert np.array_equal(only(saved(bits, "TIFF", compression=compression)).gray, 255 * bits.astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
def test_sixteen_bits_round_to_eight(kind):
    values = np.uint16([[0, 128, 129, 257, 385, 386, 65535, 65406]]).repeat(8, 0)
    assert np.array_equal(only(saved(values, kind)).gray[0], [0, 0, 1, 1, 1, 2, 255, 254])


def test_sixteen_bit_tiff_of_either_byte_order_and_polarity():
    values = np.uint16([[0, 65535]]).repeat(4, 0)
    for order, mode in ((b"<", "I;16"), (b">", "I;16B")):
        raw = values.astype(order.decode() + "u2").tobytes()
        for photometric, expected in ((1, [0, 255]), (0, [255, 0])):
            if order == b">" and photometric == 0: continue  # no reader of Pillow for it
            tags = {256: 2, 257: 4, 258: 16, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 4, 279: len(raw)}
            head = (b"II*\0" if order == b"<" else b"MM\0*") + struct.pack(order.decode() + "I", 8 + len(raw))
            ifd = struct.pack(order.decode() + "H", len(tags))
            for tag, value in tags.items():
                ifd += struct.pack(order.decode() + "HHI", tag, 4, 1) + struct.pack(order.decode() + "I", value)
            assert only(head + raw + ifd + b"\0\0\0\0").gray[0].tolist() == expected, (mode, photometric)


@pytest.mark.parametrize("mode, data", [("F", np.float32([[0.5, 0.7]])), ("I", np.int32([[-5, 70000]]))])
def test_pixels_without_a_known_range_are_refused(mode, data):
    assert only(saved(data, "TIFF")).reason.startswith("unreadable: pixels")


def test_transparency_lies_over_white():
    rgba = np.uint8([[[0, 0, 0, 0], [0, 0, 0, 255], [0, 0, 0, 128], [255, 0, 0, 255]]]).repeat(8, 0)
    expected = [255, 0, 127, 76]
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert only(saved(rgba, kind, **options)).gray[0].tolist() == expected, kind
    assert only(saved(Image.fromarray(np.uint8([[[0, 0], [0, 255], [100, 255]]]).repeat(8, 0), "LA"), "PNG")).gray[0].tolist() == [255, 0, 100]
    assert (only(saved(Image.new("L", (8, 8), 7), "PNG", transparency=7)).gray == 255).all()
    assert (only(saved(Image.new("RGB", (8, 8), RED), "PNG", transparency=RED)).gray == 255).all()


def test_palettes():
    picture = Image.new("P", (3, 8))
    picture.putpalette([*RED, *GREEN, *BLUE])
    picture.putdata([0, 1, 2] * 8)
    for kind in ("PNG", "GIF", "BMP", "TIFF"): assert only(saved(picture, kind)).gray[0].tolist() == [76, 150, 29], kind
    assert only(saved(picture, "PNG", transparency=0)).gray[0].tolist() == [255, 150, 29]


def test_cmyk_jpeg_with_and_without_adobe_s_marker():
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = saved(ink, "JPEG", quality=100)
    assert abs(int(only(data).gray[0, 0]) - 76) <= 1
    at = data.find(b"\xff\xee")
    plain = data[:at] + data[at + 2 + int.from_bytes(data[at + 2:at + 4], "big"):]
    assert only(plain).gray[0, 0] < 5  # full black and cyan: the bytes are taken as they stand
    assert abs(int(only(saved(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "TIFF")).gray[0, 0])) <= 1


def test_progressive_and_grey_jpeg():
    for options in ({"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2}):
        assert np.abs(only(saved(RAMP // 2, "JPEG", quality=95, **options)).gray.astype(int) - RAMP // 2).mean() < 6


@pytest.mark.parametrize("kind, options", [("JPEG", {"quality": 100}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}),
                                           ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", {"quality": 100}), ("HEIC", {})])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_s_orientation_is_applied(kind, options, orientation):
    stored = np.full((48, 80), 240, np.uint8)
    stored[:16, :32] = 20
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(stored).convert("RGB")
    got = only(saved(picture, kind, exif=exif.tobytes(), **options)).gray
    picture.getexif()[0x0112] = orientation
    upright = np.asarray(picture if kind == "HEIC" else ImageOps.exif_transpose(picture).convert("L"))
    if kind == "HEIC": upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(saved(picture, "PNG", exif=exif)))).convert("L"))
    assert got.shape == upright.shape and np.abs(got.astype(int) - upright).max() < 16


def test_damaged_exif_does_not_cost_the_page():
    data = saved(RAMP, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    assert only(data).gray.shape == RAMP.shape


def test_a_film_gives_its_first_picture():
    frames = [Image.new("RGB", (20, 10), c) for c in (RED, GREEN, BLUE)]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        assert (only(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)).gray == 76).all(), kind


# Many pages

def tiff(*values, **options):
    "A TIFF with a page for each grey value"
    pages = [Image.new("L", (60 + i, 40), v) for i, v in enumerate(values)]
    return saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], **options)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_each_page_of_a_tiff(compression):
    pages = list(decode_pages(tiff(10, 20, 30, compression=compression), "scan"))
    assert [(p.page, p.gray.shape, int(p.gray[0, 0])) for p in pages] == [(1, (40, 60), 10), (2, (40, 61), 20), (3, (40, 62), 30)]


def test_a_torn_page_of_a_tiff_leaves_the_others():
    data = bytearray(tiff(10, 20, 30, compression="tiff_adobe_deflate"))
    with Image.open(io.BytesIO(data)) as im:
        im.seek(1)
        start, = im.tag_v2[TiffImagePlugin.STRIPOFFSETS][:1]
    data[start:start + 8] = b"\xff" * 8
    assert [(p.page, p.reason) for p in decode_pages(bytes(data), "scan")] == [(1, None), (2, "unreadable: damaged TIFF"), (3, None)]


def test_a_tiff_cut_between_pages_keeps_what_is_whole():
    data = tiff(*range(10), compression="raw")
    pages = list(decode_pages(data[:len(data) // 2], "scan"))
    assert pages[0].reason is None and pages[-1].reason.startswith("unreadable: ") and len(pages) < 10


def test_a_thumbnail_in_a_tiff_is_no_page():
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[254] = 1
    small = Image.new("L", (8, 8))
    small.encoderinfo = {"tiffinfo": info}
    data = saved(Image.new("L", (60, 40), 9), "TIFF", save_all=True, append_images=[small])
    with Image.open(io.BytesIO(data)) as im:
        im.seek(1)
        marked = im.tag_v2.get(254)
    assert marked == 1
    assert [p.gray.shape for p in decode_pages(data, "scan")] == [(40, 60)]


def test_each_page_of_a_pdf_at_the_stated_resolution():
    pages = [Image.new("RGB", (100, 50 + i), c) for i, c in enumerate((RED, GREEN, BLUE))]
    data = saved(pages[0], "PDF", save_all=True, append_images=pages[1:], resolution=100)
    assert [(p.page, p.gray.shape, round(int(p.gray[20, 50]), -1)) for p in decode_pages(data, "scan", dpi=100)] == [
        (1, (50, 100), 80), (2, (51, 100), 150), (3, (52, 100), 30)]
    assert [p.gray.shape for p in decode_pages(data, "scan", dpi=200)][0] == (100, 200)


def test_what_a_pdf_draws():
    gray = only(pdf_page(72, 144, b"0 0 1 rg 0 0 36 72 re f"), dpi=100).gray
    assert gray.shape == (200, 100)
    assert [int(gray[y, x]) for y, x in ((150, 20), (150, 80), (50, 20))] == [28, 255, 255]


def test_filled_form_fields_are_drawn():
    look = b"q 0 g 0 0 40 20 re f Q"
    data = pdf(b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [4 0 R] >> >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
               b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 72] /Annots [4 0 R] >>",
               b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (Ada) /F 4 /Rect [10 10 50 30] /P 3 0 R /AP << /N 5 0 R >> >>",
               b"<< /Type /XObject /Subtype /Form /BBox [0 0 40 20] /Length %d >>\nstream\n%s\nendstream" % (len(look), look))
    assert only(data, dpi=72).gray[72 - 20, 30] == 0


def test_pages_are_decoded_one_at_a_time(monkeypatch):
    drawn = []
    whole = decode._draw
    monkeypatch.setattr(decode, "_draw", lambda doc, number, *a: drawn.append(number) or whole(doc, number, *a))
    page = Image.new("L", (20, 20))
    pages = decode_pages(saved(page, "PDF", save_all=True, append_images=[page] * 4), "scan", dpi=72)
    next(pages)
    next(pages)
    assert drawn == [0, 1]
    loads = []
    monkeypatch.setattr(decode, "_load", lambda im: loads.append(im.tell()) or im.load())
    frames = decode_pages(tiff(1, 2, 3, 4), "scan")
    next(frames)
    assert loads == [0]


def test_an_abandoned_pdf_is_closed(monkeypatch):
    import pypdfium2
    closed = []
    whole = pypdfium2.PdfDocument.close
    monkeypatch.setattr(pypdfium2.PdfDocument, "close", lambda self: closed.append(1) or whole(self))
    pages = decode_pages(saved(Image.new("L", (20, 20)), "PDF", save_all=True, append_images=[Image.new("L", (20, 20))]), "scan", dpi=72)
    next(pages)
    assert closed == []
    pages.close()
    assert closed == [1]


def test_pdfs_in_many_threads():
    files = [pdf_page(72 + i, 72, b"%f g 0 0 100 100 re f" % (i / 20)) for i in range(20)] * 4 + [b"%PDF- torn"] * 8
    alone = [[(p.reason, p.gray is not None and p.gray.tobytes()) for p in decode_pages(o, "scan", dpi=72)] for o in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda o: [(p.reason, p.gray is not None and p.gray.tobytes()) for p in decode_pages(o, "scan", dpi=72)], files))
    assert together == alone


def test_pdfium_is_entered_under_the_lock_only(monkeypatch):
    "Another thread can never take the lock while a page is drawn"
    seen = []
    whole = decode._draw

    def try_lock():
        if got := decode._PDFIUM.acquire(blocking=False): decode._PDFIUM.release()
        seen.append(got)

    def draw(*a):
        t = threading.Thread(target=try_lock)
        t.start()
        t.join()
        return whole(*a)

    monkeypatch.setattr(decode, "_draw", draw)
    only(pdf_page())
    assert seen == [False]


# What is bad

LOCKED = pdf(b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
             b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 72] >>",
             b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (b"41" * 32, b"42" * 32),
             trailer=b"/Encrypt 4 0 R /ID [<00> <00>]")


@pytest.mark.parametrize("data, reason", [
    (b"", "empty file"),
    (b"Dear sir or madam,\n", "unreadable: not an image or PDF"),
    (b"\0" * 5000, "unreadable: not an image or PDF"),
    (b"<html><body>503</body></html>", "unreadable: not an image or PDF"),
    (b"\xff", "unreadable: not an image or PDF"),
    (b"\xff\xd8", "unreadable: damaged JPEG"),
    (b"\xff\xd8\xff\xd9", "unreadable: damaged JPEG"),
    (b"\x89PNG\r\n\x1a\n", "unreadable: damaged PNG"),
    (b"%PDF-1.7\nnothing", "unreadable: damaged PDF"),
    (b"GIF89a", "unreadable: damaged GIF"),
    (b"BM", "unreadable: damaged BMP"),
    (b"II*\0", "unreadable: damaged TIFF"),
    (LOCKED, "encrypted PDF"),
    (pdf(b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>"), "unreadable: damaged PDF"),
])
def test_bad_bytes_have_a_reason(data, reason):
    got = only(data).reason
    assert got == reason or (got.startswith("unreadable: ") and reason.split(" ")[-1] == got.split(" ")[-1] and "truncated" in got)


@pytest.mark.parametrize("kind, options", [*LOSSLESS, ("JPEG", {}), ("JPEG", {"progressive": True}), ("AVIF", {}),
                                           ("TIFF", {"compression": "group4"}), ("TIFF", {"compression": "jpeg"})])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_half_a_file_is_no_page(kind, options, share):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160), dtype=np.uint8)
    picture = Image.fromarray(noise > 127) if options.get("compression") == "group4" else Image.fromarray(noise)
    data = saved(picture.convert("RGB") if kind in ("WEBP", "HEIC", "AVIF") else picture, kind, **options)
    reasons = [p.reason for p in decode_pages(data[:int(len(data) * share)], "scan")]
    assert all(o and o.startswith("unreadable: ") for o in reasons), reasons
    if kind in ("JPEG", "PNG", "BMP", "GIF"): assert reasons == [f"unreadable: truncated {kind}"]


@pytest.mark.parametrize("cut", [1, 2, 3, 50])
def test_a_jpeg_without_its_end_is_truncated(cut):
    assert only(saved(RAMP, "JPEG", quality=95)[:-cut]).reason == "unreadable: truncated JPEG"


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_jpeg():
    thumbnail = saved(RAMP[:8, :8], "JPEG")
    data = saved(RAMP, "JPEG", quality=95, exif=b"Exif\0\0" + thumbnail)
    assert only(data).gray.shape == RAMP.shape
    assert only(data[:-300]).reason == "unreadable: truncated JPEG"


@pytest.mark.parametrize("tail", [b"\0" * 1000, b"\xff\xff\xff", b"\r\n", saved(RAMP[:8, :8], "JPEG"), bytes(range(256)) * 4])
def test_whatever_follows_a_jpeg_does_not_matter(tail):
    assert only(saved(RAMP, "JPEG", quality=95) + tail).gray.shape == RAMP.shape


# The pixel limit

def png_header(width, height):
    "A PNG that claims a size and holds nothing"
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


def jpeg_claiming(width, height):
    "A small JPEG whose header claims another size"
    data = bytearray(saved(RAMP, "JPEG"))
    at = data.find(b"\xff\xc0")
    data[at + 5:at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_claiming(width, height):
    data = bytearray(saved(RAMP, "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def gif_claiming(width, height):
    data = bytearray(saved(RAMP, "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def tiff_claiming(width, height):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    data = saved(RAMP, "TIFF", tiffinfo=info)
    for tag, value in ((256, width), (257, height)):
        at = data.find(struct.pack("<H", tag) + b"\x04\0\x01\0\0\0")
        at = at if at > 0 else data.find(struct.pack("<H", tag) + b"\x03\0\x01\0\0\0")
        data = data[:at] + struct.pack("<HHII", tag, 4, 1, value) + data[at + 12:]
    return data


def jp2_claiming(width, height):
    data = bytearray(saved(RAMP, "JPEG2000", no_jp2=True))
    at = data.find(b"\xff\x51")
    data[at + 6:at + 14] = struct.pack(">II", width, height)
    return bytes(data)


def webp_claiming(width, height):
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    inner = saved(Image.fromarray(RAMP).convert("RGB"), "WEBP", lossless=True)[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(body) + len(inner)) + b"WEBP" + body + inner


@pytest.mark.parametrize("data", [png_header(20000, 20000), jpeg_claiming(20000, 20000), bmp_claiming(20000, 20000), gif_claiming(20000, 20000),
                                  tiff_claiming(20000, 20000), jp2_claiming(20000, 20000)], ids=["png", "jpeg", "bmp", "gif", "tiff", "jp2"])
def test_the_header_is_believed_before_anything_is_decoded(data, monkeypatch):
    monkeypatch.setattr(decode, "_load", lambda im: pytest.fail("decoded"))
    monkeypatch.setattr(cv2, "imdecode", lambda *a: pytest.fail("decoded"))
    assert only(data).reason == "too large: 400 megapixels, limit 200"


def test_webp_and_heic_and_pdf_keep_the_limit_too(monkeypatch):
    monkeypatch.setattr(decode, "_load", lambda im: pytest.fail("decoded"))
    assert only(saved(Image.fromarray(RAMP).convert("RGB"), "WEBP"), max_megapixels=0.006).reason == "too large: 0.006144 megapixels, limit 0.006"
    assert only(saved(Image.fromarray(RAMP).convert("RGB"), "HEIC"), max_megapixels=0.006).reason == "too large: 0.006144 megapixels, limit 0.006"
    assert only(pdf_page(14400, 14400)).reason == "too large: 1600 megapixels, limit 200"
    assert only(webp_claiming(16000, 16000)).reason.startswith("too large: ")


def test_the_limit_is_the_last_size_that_passes():
    data = saved(RAMP, "PNG")
    assert only(data, max_megapixels=RAMP.size / 1e6).reason is None
    assert only(data, max_megapixels=(RAMP.size - 1) / 1e6).reason.startswith("too large: ")


@pytest.mark.parametrize("kind, options", [*LOSSLESS, ("JPEG", {}), ("TIFF", {"compression": "group4"})])
def test_pillow_s_own_limit_plays_no_part(kind, options, monkeypatch):
    "Pillow refuses from twice its limit on; ours alone counts, and nobody is warned"
    if kind == "WEBP": pytest.skip("Pillow's WebP reader checks its own limit of 179 megapixels; the page then has a reason")
    picture = Image.fromarray(RAMP > 90) if options.get("compression") == "group4" else Image.fromarray(RAMP)
    data = saved(picture.convert("RGB") if kind == "HEIC" else picture, kind, **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert only(data).gray.shape == RAMP.shape


# HEIC without its extra

def test_a_missing_extra_is_a_reason_that_names_it(monkeypatch):
    data = saved(Image.fromarray(RAMP).convert("RGB"), "HEIC")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert only(data).reason == "unreadable: HEIC needs the extra 'heic'; pip install 'ocr_quality[heic]'"
    assert only(saved(RAMP, "PNG")).reason is None


def test_the_kind_comes_from_the_bytes_not_the_name():
    page, = decode_pages(saved(RAMP, "PNG"), "scan.jpg")
    assert page.gray.tolist() == RAMP.tolist()
    page, = decode_pages(b"\n\n junk before " + pdf_page(), "scan.pdf", dpi=72)
    assert page.gray.shape == (72, 72)
