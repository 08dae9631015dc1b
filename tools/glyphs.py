"""Train the recogniser of single letters that the package ships.

    python tools/glyphs.py              draw letters, train, write ocr_quality/images/data/glyphs.npz, print its checksum: 5 minutes on two cores
    python tools/glyphs.py --check      write nothing; how well the committed weights read fresh letters of fonts taught and never taught

Letters are drawn with the fonts of FONTS that are installed (Debian's packages; DejaVu comes with matplotlib), cut out as at run time, and
labelled by the place where they were drawn; half of them are made to look like worn type (`worn`), which an OCR reads as well. What joins
letters, halves of letters, blobs and strokes are the class "junk". Needs torch (extra `train`). A third of the families that `typeset`
uses, and their twins by other founders, are never taught (APART), so that the proof of the expected error can tell apart what rests on
fonts once seen. The result depends on the fonts found, whose names and number the file keeps; the same fonts and torch, the same numbers.
"""
import argparse
import hashlib
import json
import subprocess
import time
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ocr_quality.images.glyphs import FORMAT, GLYPH_MODEL, GROUPS, PARTS, classify, load_glyphs
from ocr_quality.images.ink import Ink
from ocr_quality.images.letter_patches import SIDE, letter_boxes, patches, recut
from ocr_quality.images.model_file import save_model

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "ocr_quality/images/data/glyphs.npz"
FONTS = ("Liberation Carlito Caladea OpenSans Lato DejaVuSans DejaVuSerif Courier LinLibertine LinBiolinum Roboto- RobotoCondensed- RobotoSlab "
         "EBGaramond Gentium Hack- Inconsolata cmunrm cmunti cmunbx cmunbi cmunss cmuntt cmunbl FreeSans FreeSerif FreeMono OldStandard C059 "
         "NimbusMono NimbusRoman NimbusSans P052 URWBookman URWGothic NotoSans- NotoSerif- texgyreadventor texgyrebonum texgyrecursor "
         "texgyreheros texgyrepagella texgyreschola texgyretermes").split()
UNFIT = "Hairline Thin ExtraLight Black Math Symbol Display Initial Keyboard Outline Shadow Slanted math LinLibertine_I LinBiolinum_K".split()
APART = ("OpenSans NotoSans- LinBiolinum P052 texgyrepagella NimbusMono texgyrecursor Courier FreeMono URWGothic texgyreadventor Caladea Gentium "
         "Inconsolata cmuntt").split()  # Never taught: one third of the families of `typeset`, with their twins
TEXT = ("the of and to in for our your claim policy cover damage water roof storm fire vehicle front rear door window left kitchen repair amount "
        "paid received letter dated please find enclosed photograph report from garage hospital Anna Baker Peter Holm Maria Costa John Fischer "
        "Laura Novak 12.03.2024 1,250.00 7 Station Road PAID TOTAL DATE INSURED No. A417 journal quite next size week objet sujet vous avez").split()
CHARS = "".join(GROUPS) + "aeinorstlu" * 2
JUNK = len(GROUPS)
WORN = 0.5  # Share of the patches that are printed with worn type


def fonts():
    "Paths of the installed fonts that are fit, one of each name, sorted"
    found = {}
    for p in sorted(subprocess.run(["fc-list", ":", "file"], capture_output=True, text=True, check=True).stdout.replace(": ", "").split("\n")):
        name = Path(p.strip().rstrip(":")).name
        if name.startswith(tuple(FONTS)) and not any(u in name for u in UNFIT): found.setdefault(Path(name).stem, p.strip().rstrip(":"))
    return found


@cache
def _part(font, c):
    "Box of the largest connected part of the letter `c`, from its origin; None for an empty one"
    mask, (left, top) = font.getmask2(c, mode="L")
    if not all(mask.size): return None
    image = np.array(mask, np.uint8).reshape(mask.size[::-1])
    n, _, stats, _ = cv2.connectedComponentsWithStats((image > 127).astype(np.uint8))
    if n < 2: return None
    x, y, w, h, area = stats[1 + stats[1:, 4].argmax()]
    return x + left, y + top, w, h, area / stats[1:, 4].sum()


def _line(rng):
    "A line of words or of random letters"
    if rng.random() < 0.4: return " ".join(TEXT[i] for i in rng.integers(len(TEXT), size=12))
    return " ".join("".join(CHARS[i] for i in rng.integers(len(CHARS), size=rng.integers(2, 9))) for _ in range(10))


def sheet(rng, path):
    "A clean sheet in one font and size: grey page, list of (class, left, top, width, height)"
    xh = np.exp(rng.uniform(np.log(4), np.log(34)))
    probe = ImageFont.truetype(path, 100)
    size = round(100 * xh / max(-probe.getbbox("x", anchor="ls")[1], 20), 1)
    font, gap = ImageFont.truetype(path, size), rng.choice((0, 0, 0.02, 0.06, -0.03, -0.05)) * size
    w, h = int(40 * xh + 200), int(size * 1.35 * 7 + 20)
    up = rng.choice((1, 1, 2)) if xh < 20 else 1  # Twice the size and averaged: softer, at any phase
    font2 = ImageFont.truetype(path, size * up)
    page, truth = Image.new("L", (w * up, h * up), 255), []
    draw = ImageDraw.Draw(page)
    for row in range(7):
        x, y = 8.0 + rng.random(), row * size * 1.35 + 6 + rng.random()
        for c in _line(rng):
            if x + size > w - 8: break
            draw.text((x * up, y * up), c, fill=0, font=font2)
            part = _part(font, c) if c != " " else None
            if part: truth.append((GROUP.get(c, -1), x + part[0], y + part[1], *part[2:4], part[4]))
            x += font.getlength(c) + gap
    gray = np.asarray(page)
    if up > 1: gray = cv2.resize(gray, (w, h), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.35:  # Drawn at another size: resampled a little
        k = rng.uniform(0.75, 1.3)
        gray = cv2.resize(gray, None, fx=k, fy=k, interpolation=int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA))))
        truth = [(t[0], *(v * k for v in t[1:5]), t[5]) for t in truth]
    if rng.random() < 0.2: gray = np.where(gray < rng.uniform(90, 170), 0, 255)
    paper, ink = rng.uniform(200, 255), rng.uniform(0, 90)
    return np.rint(ink + (paper - ink) * gray / 255).astype(np.uint8), truth


GROUP = {c: k for k, g in enumerate(GROUPS) for c in g} | {a: k for k, g in enumerate(GROUPS) for c in g for a in {
    "e": "éèêë", "a": "àâäá", "u": "ùûü", "o": "ôöó", "c": "ç", "n": "ñ"}.get(c, "")}


def label(boxes, truth):
    "Class of each box: of the letter drawn there, junk for letters run together and for pieces, -1 for what is neither"
    out = np.full(len(boxes), -1)
    t = np.array(truth, float).reshape(-1, 6)
    right, low = t[:, 1] + t[:, 3], t[:, 2] + t[:, 4]
    for i, (x, y, w, h) in enumerate(boxes.astype(float)):
        within = np.maximum(np.minimum(x + w, right) - np.maximum(x, t[:, 1]), 0) * np.maximum(np.minimum(y + h, low) - np.maximum(y, t[:, 2]), 0)
        share, best = within / (t[:, 3] * t[:, 4]), int(within.argmax())
        off = max(abs(x - t[best, 1]), abs(y - t[best, 2]), abs(x + w - right[best]), abs(y + h - low[best]))
        if off < max(1.3, 0.09 * max(w, h)): out[i] = t[best, 0] if t[best, 5] > 0.5 else -1
        elif (share > 0.6).sum() > 1 or (share.max() < 0.6 and within.max() > 0.7 * w * h and h > 1.3 * w): out[i] = JUNK
    return out


def jitter(rng, boxes):
    "Boxes a little off: half a pixel or 3 % to each side"
    moved = boxes + rng.normal(0, 0.03, boxes.shape) * boxes[:, 2:].max(1, keepdims=True) + rng.uniform(-0.5, 0.5, boxes.shape)
    return np.maximum(moved, (-9, -9, 2, 3))


def worn(rng, patch):
    "A patch as worn type, a ribbon or absorbent paper print it: edges that wander, strokes a little swollen or thin, ink that covers unevenly"
    def field(n, soft):
        f = cv2.GaussianBlur(rng.standard_normal((n, SIDE, SIDE)).astype(np.float32).transpose(1, 2, 0), (0, 0), soft).reshape(SIDE, SIDE, n)
        return f / (f.std() + 1e-6)
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), 2).astype(np.float32)
    moved = grid + rng.uniform(0, 0.5) * field(2, rng.uniform(0.8, 2.5))
    patch = cv2.remap(patch, moved[..., 0].copy(), moved[..., 1].copy(), cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(patch, (0, 0), rng.uniform(0.4, 0.9))
    patch = np.clip((soft - rng.normal(0.4, 0.09)) * rng.uniform(1.2, 3) + 0.5, 0, 1)
    patch = patch * np.clip(1 - rng.uniform(0, 0.3) * (1 + field(1, rng.uniform(0.6, 3))[..., 0]), 0, 1.2)
    return (patch + rng.uniform(0, 0.1) * field(1, rng.uniform(0.4, 1.2))[..., 0]).astype(np.float32)


def roughen(rng, patch):
    "A patch a little turned, sheared, of another contrast, worn, or black and white: as sound print differs"
    if rng.random() < WORN: patch = worn(rng, patch)
    if rng.random() < 0.5:
        a, s, c = np.radians(rng.normal(0, 2.5)), rng.normal(0, 0.06), (SIDE - 1) / 2
        m = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ [[1, s], [0, 1]]
        patch = cv2.warpAffine(patch, np.c_[m, [c, c] - m @ [c, c]], (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    if rng.random() < 0.15: return (patch > rng.uniform(0.35, 0.65)).astype(np.float32)
    return np.clip(patch * rng.normal(1, 0.1) + rng.normal(0, 0.03), -0.25, 1.25)


def halves(rng, boxes):
    "Upper or lower part of each box"
    share = rng.uniform(0.35, 0.6, len(boxes))
    up = rng.random(len(boxes)) < 0.5
    return np.stack([boxes[:, 0], boxes[:, 1] + np.where(up, 0, (1 - share) * boxes[:, 3]), boxes[:, 2], np.maximum(share * boxes[:, 3], 3)], 1)


def rubbish(rng):
    "Patches of specks, blobs, strokes, rules and grain"
    n = 48
    page = np.full((n * 8, n * 8), 255, np.uint8)
    for j in range(8):
        for i in range(8):
            cell, kind = np.zeros((n, n), np.float32), rng.integers(4)
            if kind == 0:
                soft = cv2.GaussianBlur(rng.standard_normal((n, n)).astype(np.float32), (0, 0), np.exp(rng.uniform(np.log(1), np.log(6))))
                cell = (soft > np.quantile(soft, rng.uniform(0.6, 0.9))).astype(np.float32)
            elif kind == 1:
                for _ in range(rng.integers(1, 5)):
                    a, b = rng.integers(6, n - 6, (2, 2))
                    cv2.line(cell, a.tolist(), b.tolist(), 1.0, int(rng.integers(1, 7)))
            elif kind == 2: cv2.ellipse(cell, (n // 2, n // 2), rng.integers(4, 20, 2).tolist(), float(rng.integers(180)), 0, 360, 1.0, -1)
            else:
                points = rng.integers(6, n - 6, (int(rng.integers(3, 7)), 2))
                cv2.fillPoly(cell, [points.astype(np.int32)], 1.0)
            cell[[0, -1]] = cell[:, [0, -1]] = 0
            page[j * n : j * n + n, i * n : i * n + n] = 255 * (1 - cell)
    if rng.random() < 0.5: page = cv2.resize(page, None, fx=(k := rng.uniform(0.2, 0.7)), fy=k, interpolation=cv2.INTER_AREA)
    ink = Ink(page)
    marks = ink.marks[(ink.marks[:, 2:4].max(1) >= 4) & (ink.marks[:, 3] < 3 * ink.marks[:, 2])]
    return patches(ink, marks[:, :4])


def draw(seed, paths, sheets):
    "Patches `(n, 18, 18)` float16 and classes from `sheets` clean sheets"
    rng, xs, ys = np.random.default_rng(seed), [], []
    names = sorted(paths)
    for s in range(sheets):
        gray, truth = sheet(rng, paths[names[s % len(names)] if s < len(names) else names[rng.integers(len(names))]])
        ink = Ink(gray)
        if not len(ink.letters): continue
        index, boxes, cut = letter_boxes(ink, 4000)
        y = label(boxes, truth)
        again = np.flatnonzero((y == JUNK) & (rng.random(len(y)) < 0.4))
        more = recut(ink, index[again], boxes[again], cut[again]).reshape(-1, 4)
        boxes, y = np.concatenate([boxes, more]), np.concatenate([y, label(more, truth)])
        xs.append(patches(ink, jitter(rng, boxes)[y >= 0])); ys.append(y[y >= 0])
        cut = boxes[(y >= 0) & (y < JUNK) & ~np.isin(y, [GROUP[c] for c in "loB8E3"]) & (rng.random(len(y)) < 0.06)]
        xs.append(patches(ink, halves(rng, cut))); ys.append(np.full(len(cut), JUNK))
        if s % 4 == 0: xs.append(rubbish(rng)); ys.append(np.full(len(xs[-1]), JUNK))
    x = np.concatenate(xs)
    return np.stack([roughen(rng, p) for p in x]).astype(np.float16), np.concatenate(ys)


def net():
    "The recogniser as torch trains it"
    from torch import nn
    return nn.Sequential(nn.Unflatten(1, (1, SIDE)), nn.Conv2d(1, 12, 4, 2), nn.ReLU(), nn.Conv2d(12, 32, 4, 2), nn.ReLU(), nn.Flatten(),
                         nn.Linear(288, 128), nn.ReLU(), nn.Linear(128, JUNK + 1))


def fit(x, y, epochs, seed=0):
    "Train on patches `x` and classes `y`; the arrays of the recogniser, float16"
    import torch
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # The same sums in the same order, and no waiting for a busy core
    x, y, m = torch.tensor(x), torch.tensor(y), net()
    steps = len(x) // 256
    opt = torch.optim.AdamW(m.parameters(), 2e-3, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=epochs * steps)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.02)
    for epoch in range(epochs):
        order = torch.randperm(len(x))
        for i in range(steps):
            j = order[i * 256 : i * 256 + 256]
            opt.zero_grad()
            now = loss(m(x[j].float()), y[j])
            now.backward()
            opt.step(); plan.step()
        print(f"epoch {epoch + 1}: loss {now.item():.3f}", flush=True)
    return numbers(m)


def numbers(m):
    "Arrays of the trained net `m`, float16, channels last as at run time"
    c1, c2, d3, d4 = (layer for layer in m if hasattr(layer, "weight"))
    w3 = d3.weight.detach().reshape(128, 32, 3, 3).permute(2, 3, 1, 0).reshape(288, 128)
    parts = [c1.weight.permute(2, 3, 1, 0), c1.bias, c2.weight.permute(2, 3, 1, 0), c2.bias, w3, d3.bias, d4.weight.T, d4.bias]
    return {k: v.detach().numpy().astype(np.float16) for k, v in zip(PARTS, parts, strict=False)}


def middles(model, x, y):
    "Middle of each class in the last layer but one, and the usual squared distance from it"
    hidden = np.concatenate([classify(x[i : i + 4096], wide(model))[1] for i in range(0, len(x), 4096)])
    centres = np.stack([hidden[y == k].mean(0) for k in range(JUNK + 1)])
    return {"centres": centres.astype(np.float16),
            "spread": np.array([((hidden[y == k] - centres[k]) ** 2).sum(1).mean() for k in range(JUNK + 1)]).astype(np.float16)}


def wide(model): return {k: v.astype(np.float32) if k in PARTS else v for k, v in model.items()}


def report(model, x, y):
    "Shares read right: of letters, and of junk"
    got = np.concatenate([classify(x[i : i + 4096], model)[0] for i in range(0, len(x), 4096)]).argmax(1)
    right, junk = got == y, y == JUNK
    print(f"letters read right {right[~junk].mean():.4f} of {(~junk).sum()}, junk known {right[junk].mean():.4f} of {junk.sum()}")


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--check", action="store_true", help="write nothing, read fresh letters with the committed weights")
    cli.add_argument("--sheets", type=int, default=1000, help="sheets drawn, some 300 letters each")
    cli.add_argument("--epochs", type=int, default=8)
    args = cli.parse_args()
    started, found = time.time(), fonts()
    other = {k: v for k, v in found.items() if k.startswith(tuple(APART))}
    taught = {k: v for k, v in found.items() if k not in other}
    if args.check: return [report(load_glyphs(TARGET), *draw(2, some, 80)) for some in (taught, other)]
    x, y = draw(1, taught, args.sheets)
    print(f"{len(x)} patches of {len(taught)} fonts in {time.time() - started:.0f} s; {len(other)} fonts apart")
    model = fit(x, y, args.epochs)
    model |= middles(model, x, y)
    for some in (taught, other): report(wide(model), *draw(2, some, 80))
    names = hashlib.sha256(" ".join(sorted(taught)).encode()).hexdigest()[:12]
    recipe = json.dumps({"tool": "tools/glyphs.py", "sheets": args.sheets, "epochs": args.epochs, "seed": 1, "patches": len(x),
                         "fonts": len(taught), "fonts_sha256": names, "apart": APART, "classes": GROUPS}, ensure_ascii=False)
    sha = save_model(TARGET, FORMAT, model, recipe=recipe)
    print(f"wrote {TARGET.relative_to(ROOT)}, {TARGET.stat().st_size} bytes, {time.time() - started:.0f} s")
    print(f"{GLYPH_MODEL.split(':')[0]}:{sha[:12]}  (sha256 {sha}): write it into GLYPH_MODEL")


if __name__ == "__main__": main()
