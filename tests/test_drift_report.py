"Drift, weekly and batch reports: whatever is in the facts, the page is there, is bounded, needs nothing but itself, and says what is missing"
import copy
import json
import math
import re
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from ocr_quality import synth
from ocr_quality.core import JobError, SettingsError, parse_time
from ocr_quality.jobs.model_settings import set_model
from ocr_quality.jobs.monitor import image_quality
from ocr_quality.jobs.notebook import run_notebook
from ocr_quality.jobs.weekly import weekly_review
from ocr_quality.records.store import MetricStore
from ocr_quality.tell.alert import lines_html
from ocr_quality.tell.drift_report import drift_html, drift_lines, drift_report, drift_text
from ocr_quality.tell.html import outside_addresses
from ocr_quality.tell.numbers import LEVELS
from ocr_quality.tell.parts import PARTS, Part, make_parts, page, report_part
from ocr_quality.tell.report import batch_report
from ocr_quality.tell.weekly_report import attention, weekly_report, weekly_text

DAY = "2026-03-{:02d}T06:00:00Z".format


def histogram(mean, sd, edges, n=500, seed=0):
    return (np.histogram(np.random.default_rng(seed).normal(mean, sd, n), edges)[0] / n).tolist()


def feature(name="sharpness", words="Sharpness", effect=1.87, **more):
    return {"name": name, "words": words, "unit": "edges a letter", "n": 197, "n_reference": 998, "missing": 3, "reference": 6.31, "current": 4.42,
            "effect": effect, "shift": -1.89, "direction": "worse", "ks": 0.7, "p_value": 0.0123} | more


def question(**more):
    return {"question": "?", "drift_detected": True, "verdict": "different", "severity": "medium", "p_value": 0.0123, "alpha": 0.0033, "effect": 1.87,
            "effect_unit": "reference sd", "detectable": 0.314, "sentence": "It moved.", "features": []} | more


def example():
    "A report with everything in it"
    edges = np.linspace(0, 10, 31)
    classes = [{"class": "invoice", "reference": 0.413, "current": 0.222, "difference": -0.191, "p_value": 0.002, "new": False},
               {"class": "power of attorney", "reference": 0.0, "current": 0.163, "difference": 0.163, "p_value": 0.0004, "new": True}]
    split = [{"part": "images", "change": -0.081, "low": -0.0951, "high": -0.0682},
             {"part": "model", "change": 0.0041, "low": -0.0023, "high": 0.0104},
             {"part": "interaction", "change": -0.0131, "low": -0.0212, "high": -0.0052},
             {"part": "total", "change": -0.0902, "low": -0.104, "high": -0.0771}]
    sets = {k: {"images": n, "timestamp": DAY(d), "source": f"s3://claims/{k}", "model": {"name": "doctype.onnx", "checksum": c}}
            for k, n, d, c in (("reference", 1000, 1, "9f2c51b07a3de488"), ("current", 200, 14, "77aa51b07a3de000"))}
    return {"format": "ocr_quality.drift", "version": 1, "timestamp": DAY(14), "overall_drift_detected": True, "severity": "high",
            "headline": "The pages are out of focus", "findings": ["Sharpness fell from 6.31 to 4.42.", "The model is less sure."],
            "pixel_distribution_drift": {"drift_detected": False, "severity": "low", "baseline_mean": 0.8712, "current_mean": 0.8461,
                                         "overall_mean_shift": 0.0251, "overall_std_shift": 0.0112, "beyond_limit": False, "p_value": 0.031},
            "confidence_drift": {"drift_detected": True, "severity": "medium", "baseline_mean_confidence": 0.9312, "current_mean_confidence": 0.8411},
            "class_distribution_drift": {"drift_detected": True, "severity": "high", "wasserstein_distance": 0.1912, "null_mean": 0.045},
            "drift_summary": {"pixel_drift": False, "confidence_drift": True, "class_distribution_drift": True, "input_drift": True},
            "questions": {"inputs": question(severity="high", features=[feature(), feature("contrast", "Contrast", 0.52, direction="other")]),
                          "confidence": question(sentence="Its mean confidence fell.", features=[feature("confidence", "Confidence", 1.51)]),
                          "predictions": question(effect_unit="total variation", effect=0.191, classes=classes, total_variation=0.191,
                                                  jensen_shannon=0.0312, null_mean=0.0452, null_q99=0.0944),
                          "data_or_model": {"parts": split, "sentence": "It is the data."}},
            "harm": {"metric": "brisque", "words": "BRISQUE", "reference": 28.11, "current": 39.04, "change": 10.93, "low": 9.02, "high": 12.94,
                     "in_sd": 1.42, "verdict": "worse", "sentence": "It does harm."},
            "distributions": {"sharpness": {"edges": edges.tolist(), "reference": histogram(6.3, 1, edges), "current": histogram(4.4, 1, edges)},
                              "pixels": {"edges": np.linspace(0, 1, 257).tolist(), "reference": [1 / 256] * 256, "current": [1 / 256] * 256},
                              "confidence": {"edges": np.linspace(0, 1, 11).tolist(), "reference": [0.1] * 10, "current": [0.1] * 10}},
            "pages": [{"uri": f"s3://claims/now/claim_{i:03d}.jpg", "page": 1 + i, "batch": "2026-03-14", "feature": "sharpness", "value": 2.1 + i,
                       "score": 0.91} for i in range(3)],
            "counted": {"reference": {"images": 1000, "unreadable": 2, "reasons": {"empty file": 2}, "no_prediction": 0},
                        "current": {"images": 200, "unreadable": 3, "reasons": {"truncated JPEG": 3}, "no_prediction": 4}},
            **sets, "limits": {"alpha": 0.0123, "severities": [0.02, 0.05, 0.1]}, "notes": ["There is one reference set only."]}


VOID = set("area base br col embed hr img input link meta source track wbr".split())


class Checker(HTMLParser):
    "Tags that are closed in the order in which they were opened, ids that are there once"
    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.ids, self.links, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        names = [k for k, _ in attrs]
        if len(set(names)) < len(names): self.wrong.append(f"{tag} has an attribute twice")
        self.ids += [v for k, v in attrs if k == "id"]
        self.links += [v[1:] for k, v in attrs if k in ("href", "xlink:href") and v.startswith("#")]
        if tag not in VOID: self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID: self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag: self.wrong.append(f"</{tag}> closes something else")


def check(html, broken=False):
    "A page that is well formed, needs nothing else, has no script, and is small"
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert not checker.wrong and not checker.open, (checker.wrong[:3], checker.open)
    assert len(set(checker.ids)) == len(checker.ids) and set(checker.links) <= set(checker.ids)
    assert outside_addresses(html) == [] and not {"script", "iframe", "form", "link"} & set(checker.tags)
    assert len(html.encode("utf-8", "backslashreplace")) < 2_000_000 and html.lower().startswith("<!doctype html>")
    assert "name=\"viewport\"" in html and "@media print" in html
    assert ("could not be made" in html) == broken, re.findall("could not be made[^<]*", html)
    return html


def words(html):
    "What a reader sees, in one line"
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", html, flags=re.S)).split())


@pytest.fixture
def parts():
    "Registered parts are the process's; each test leaves them as it found them"
    kept = {k: dict(v) for k, v in PARTS.items()}
    yield
    PARTS.clear()
    PARTS.update(kept)


# the drift report


def test_every_number_that_matters_appears():
    seen = words(check(drift_html(example())))
    for text in ("high", "The pages are out of focus", "Sharpness fell from 6.31 to 4.42.", "s3://claims/current against s3://claims/reference",
                 "0.012, limit 0.0033", "1.87 reference sd", "from 0.31 reference sd", "different, high", "different, medium", "It moved.",
                 # questions
                 "It does harm.", "28.1", "39.0", "+10.9 (1.42 sd)", "+9.02 to +12.9", "worse",  # harm
                 "6.31 4.42 1.87 sd worse 0.012", "197 against 998 images, 3 missing", "1.51 sd", "0.52 sd",  # what moved
                 "41.3 % 22.2 % −19.1 0.002", "power of attorney new 0.0 % 16.3 % +16.3 < 0.001", "1 class", "0.05 on average", "0.09 in 99 of 100",
                 "differ by 0.19", "Jensen–Shannon 0.03",  # classes
                 "The images −0.0810 −0.0951 to −0.0682", "The model +0.00410", "Both together", "In all −0.0902 −0.104 to −0.0771", "the data",
                 "claim_000.jpg Sharpness 2.10 0.910 2026-03-14", "claim_002.jpg page 3", "no prediction 0 4", "reasons: truncated JPEG 0 3",
                 "images 1,000 200", "9f2c51b07a3de488 77aa51b07a3de000", "two different models", DAY(14),
                 "baseline_mean 0.8712", "overall_mean_shift 0.0251", "overall_std_shift 0.0112", "beyond_limit no",
                 "baseline_mean_confidence 0.9312",
                 "wasserstein_distance 0.1912", "no drift, low", "drift, medium", "drift, high", "more than 0.05", "above 0.15",
                 "confidence_drift yes",
                 "alpha 0.0123", "0.02, 0.05, 0.1", "There is one reference set only."):
        assert text in seen, text


def test_the_three_distributions_are_drawn():
    html = drift_html(example())
    assert html.count("<figure") == 3 and all(f"<b>{w}</b>" in html for w in ("Pixel values", "Confidence", "Sharpness"))


@pytest.mark.parametrize("severity", [*LEVELS, "dreadful", None, 3])
def test_severities_are_words_beside_colours(severity):
    html = check(drift_html(example() | {"severity": severity}))
    head = html.split("<header")[1].split("</header>")[0]
    shown = severity if severity in LEVELS else "high" if severity is None else "unknown"
    assert f'class="card head {shown}"' in "<header" + head and f"</span>{shown}</span>" in head
    assert head.count('<i class="on">') == {"low": 1, "medium": 2, "high": 3}.get(shown, 0)


MISSING = {
    "nothing but the flag": lambda r: {"overall_drift_detected": False},
    "the classic report": lambda r: {k: r[k] for k in ("overall_drift_detected", "pixel_distribution_drift", "confidence_drift",
                                                       "class_distribution_drift",
                                                       "drift_summary")},
    "no question": lambda r: r | {"questions": None}, "questions of another kind": lambda r: r | {"questions": [1, 2]},
    "all questions null": lambda r: r | {"questions": dict.fromkeys(r["questions"])},
    "no model": lambda r: r | {"questions": r["questions"] | dict.fromkeys(("confidence", "predictions", "data_or_model")), "harm": None,
                               "reference": {"images": 3, "model": None}, "current": {"images": 4, "model": None}},
    "empty": lambda r: {k: type(v)() for k, v in r.items()} | {"format": "ocr_quality.drift"},
    "all null": lambda r: dict.fromkeys(r) | {"format": "ocr_quality.drift"},
    "texts for all": lambda r: dict.fromkeys(r, "text") | {"format": "ocr_quality.drift"},
    "numbers for all": lambda r: dict.fromkeys(r, 7) | {"format": "ocr_quality.drift"},
    "lists for all": lambda r: dict.fromkeys(r, [None, 1, "x", [], {}]) | {"format": "ocr_quality.drift"},
    "newer": lambda r: r | {"version": 2, "something": {"new": [1]}}}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_costs_nothing_else(name):
    report = MISSING[name](example())
    html = check(drift_html(report))
    assert drift_text(report).startswith("Drift:") and drift_lines(report)
    if name in ("no model", "all questions null"): assert html.count("No model was given." if name == "no model" else "There are no answers") >= 2
    if name == "newer": assert "newer than version 1" in words(html) and "newer than version 1" in drift_text(report)
    if name == "the classic report": assert "drift, medium" in words(html) and "This report does not ask it" in words(html)


def leaves(value, path=()):
    "Paths to everything in a report, the inner ones too"
    yield path
    for k, v in value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else (): yield from leaves(v,
            (*path, k))


def put(report, path, value):
    "A copy of the report with something else at a path"
    report = copy.deepcopy(report)
    inner = report
    for k in path[:-1]: inner = inner[k]
    inner[path[-1]] = value
    return report


def small():
    "The example without pictures, which take the time"
    return example() | {"distributions": {}}


PATHS = [p for p in leaves(small()) if p and p != ("format",)]


@pytest.mark.parametrize("at, value", list(enumerate([None, math.nan, -math.inf, 1e308, 10 ** 400, -5, True, "", "none", [], [None], {}, {"a": None},
                                                 b"x"])),
                         ids=lambda v: repr(v)[:12])
def test_anything_may_stand_anywhere(at, value):
    "A third of the report's values replaced, one after the other, and another third with the next: no part fails, no NaN is shown"
    report = small()
    for path in PATHS[at % 3::3]:
        changed = put(report, path, value)
        html = drift_html(changed)
        assert "could not be made" not in html, (path, re.findall("could not be made[^<]*", html))
        assert not re.search(r"\b(nan|inf|None)\b", words(html).replace("nan confidence", "")), path
        drift_text(changed)


@pytest.mark.parametrize("odd", [{"edges": [0, 1, 1], "reference": [0.5, 0.5], "current": [0.5, 0.5]},
                                 {"edges": [0, 1], "reference": [1], "current": [1, 2]},
                                 {"edges": None, "reference": [], "current": []}, {"reference": [math.nan, 1], "current": [0, 1]}, "x", None,
                                 {"edges": [0, 1e-320, 1], "reference": [1, 0], "current": [0, 1]},
                                 {"edges": [2, 1, 0], "reference": [1, 0], "current": [0, 1]},
                                 {"edges": [0, 1, 2], "reference": [-1, 2], "current": [0, 1]},
                                 {"edges": [0, 1e300, 1e308], "reference": [1, 0], "current": [0, 1]}])
def test_a_distribution_that_is_none_is_named(odd):
    html = check(drift_html(example() | {"distributions": {"sharpness": odd}}))
    assert "Sharpness cannot be drawn" in html and "<svg" not in html.split('id="distributions"')[1].split("</section>")[0]


def test_flat_and_empty_distributions_are_drawn():
    flat = {"edges": [0, 1, 2], "reference": [0, 0], "current": [0, 0]}
    assert check(drift_html(example() | {"distributions": {"pixels": flat | {"edges": None}}})).count("<figure") == 1


HOSTILE = ["<script src=//a.org></script>", '"><img src=https://a.org/x.png onerror=alert(1)>', "{{ 7 * 7 }}", "$\\frac{1}$ & <b>", "</style></svg>",
           "url(https://a.org) @import 'x'", "javascript:alert(1)", "日本語 العربية 🏴‍☠️", "x" * 5000, "\x1b[31m\x00\u202e", "\ud800half", "a\nb\r\tc"]


@pytest.mark.parametrize("nasty", HOSTILE, ids=lambda s: ascii(s)[:14])
def test_names_and_texts_are_escaped_everywhere(nasty, tmp_path):
    def spoiled(v):
        if isinstance(v, dict): return {(k if k in KEYS else nasty): spoiled(x) for k, x in v.items()} | ({nasty: 1} if len(v) < 9 else {})
        if isinstance(v, list): return [spoiled(x) for x in v]
        return nasty if isinstance(v, str) and v not in ("ocr_quality.drift", "different", "high", "sharpness") else v
    report = spoiled(example())
    path = drift_report(report, tmp_path / "r.html")
    html = check(Path(path).read_text(encoding="utf-8"))
    assert "<script" not in html and "<img" not in html and "49" not in words(html).split("Limits and notes")[-1]
    assert not re.search(r"[\x00\x1b\u202e]", html + drift_text(report)) and all("\n" not in text for _, text in drift_lines(report))
    if nasty == HOSTILE[7]: assert "日本語" in html
    if nasty == "x" * 5000: assert "x" * 700 not in html


KEYS = {k for p in leaves(example()) for k in p if isinstance(k, str)} - {"reasons", "empty file", "truncated JPEG", "alpha"}


def test_however_much_there_is_the_page_is_small():
    report, many = example(), 4000
    edges = np.linspace(0, 1, 257).tolist()
    report["questions"]["inputs"]["features"] = [feature(f"metric_{i}", f"Metric {i} " + "w" * 300, i / 100, unit="u" * 500) for i in range(many)]
    report["questions"]["predictions"]["classes"] = [{"class": f"class {i} " + "c" * 300, "reference": 1 / many, "current": 1 / many,
                                                      "difference": i / 1e6,
                                                      "p_value": 1.0, "new": i % 2 == 0} for i in range(many)]
    report["distributions"] = {f"metric_{i}": {"edges": edges, "reference": [1 / 256] * 256, "current": np.random.default_rng(i).random(256).tolist()}
                               for i in range(many // 10)}
    report["pages"] = [{"uri": "s3://b/" + "folder/" * 200 + f"{i}.jpg", "page": i, "batch": "b" * 999, "feature": "metric_1", "value": i,
                        "score": 1} for i in range(99999)]
    report["counted"]["current"]["reasons"] = {f"reason {i} " + "r" * 900: i for i in range(many)}
    report["notes"] = report["findings"] = ["n" * 5000] * many
    report["limits"] = {f"limit {i}": "l" * 900 for i in range(many)}
    html = check(drift_html(report))
    seen = words(html)
    for text in ("3,889 more features", "3,980 more classes", "99,939 more pages", "392 further distributions",
                 "2,000 classes"): assert text in seen, text
    assert "Metric 3999" in seen and len(drift_text(report)) < 40_000 and len(html) < 1_000_000


def test_pages_are_shown_only_when_asked(tmp_path):
    rows = []
    for i in range(14):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.random.default_rng(i).integers(0, 256, (1600, 1200), np.uint8))
        rows.append({"uri": str(tmp_path / f"{i}.png"), "page": 1, "batch": "b", "feature": "sharpness", "value": float(i), "score": 0.5})
    (tmp_path / "0.png").unlink()
    report = example() | {"pages": rows}
    without, shown = check(drift_html(report)), check(drift_html(report, show_pages=True))
    assert "data:image" not in without and shown.count("data:image/jpeg") == 11 and "cannot be read any more" in shown
    own = pd.DataFrame({"uri": [str(tmp_path / "13.png"), "weird://x", ""], "page": [1, 1, 1]})
    given = check(drift_html(report, show_pages=True, pages=own))
    assert given.count("data:image/jpeg") == 1 and given.count("cannot be read any more") == 2 and "13.png" in given


@pytest.mark.parametrize("wrong, said", [([], "as a dict"), (None, "as a dict"), ("{}", "as a dict"), ({}, "expected a drift report with"),
                                         ({"a": 1}, "one with a"), ({"format": "ocr_quality.profile"}, "ocr_quality.profile"),
                                         ({"format": None}, "format")])
def test_what_is_no_report_is_refused_before_anything_is_written(wrong, said, tmp_path):
    with pytest.raises(ValueError, match=said): drift_report(wrong, tmp_path / "r.html")
    with pytest.raises(ValueError, match=said): drift_text(wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_the_same_after_json_and_twice(tmp_path):
    report = example()
    before = copy.deepcopy(report)
    first = drift_html(report)
    assert drift_html(json.loads(json.dumps(report))) == first == drift_html(report) and report == before


def test_too_few_is_not_shown_as_all_well():
    few = {k: question(verdict="too few", drift_detected=False, severity="none") if k != "data_or_model" else None for k in example()["questions"]}
    head = check(drift_html(example() | {"severity": "none", "overall_drift_detected": False, "questions": few}))
    assert 'class="card head unknown"' in head and "none: undecided" in head and head.count("</span>too few</span>") == 3


def test_what_may_be_chance_is_not_coloured():
    report = put(small(), ("questions", "inputs", "features"), [feature(p_value=0.6)])
    row = drift_html(put(report, ("questions", "confidence", "features"), [])).split('id="moved"')[1].split("</section>")[0]
    assert 'class="bar other"' in row and 'class="bar worse"' not in row
    assert 'class="bar worse"' in drift_html(small()).split('id="moved"')[1]


def test_plain_text_says_the_same():
    text = drift_text(example())
    for said in ("Drift:         high: The pages are out of focus", "Inputs:        different, high. It moved.",
                 "Data or model: the data. It is the data.",
                 "Harm:          worse. It does harm.", "Sharpness 6.31 to 4.42 (1.87 sd, worse, p 0.012)",
                 "power of attorney 0.0 % to 16.3 % (never seen before)",
                 "s3://claims/now/claim_001.jpg page 2  Sharpness 3.10", "200, against 1,000 in the reference", "unreadable 3, no prediction 4",
                 "There is one reference set only."):
        assert said in text, said
    mail = lines_html("drift", drift_lines(example()), "high")
    assert "#8f0d22" in mail and outside_addresses(mail) == [] and "claim_001" in mail


# parts


def test_a_registered_part_stands_in_every_report_of_its_kind(parts, tmp_path):
    @report_part("drift", order=15)
    def owner(report): return Part("Who to ask", f"<p>{report['severity']}: Kim</p><script>alert(1)</script>", severity="low")

    @report_part("batch")
    def scanner(found): return Part("Scanner room", template="<p>{{ n }} pages of {{ model }}</p>",
                                    values={"n": len(found["pages"]), "model": found["model"]})

    html = check(drift_html(small()))
    assert html.index('id="questions"') < html.index("<p>high: Kim</p>") < html.index('id="harm"') and '<a href="#who-to-ask">' in html
    frame = pd.DataFrame({"batch": "b", "uri": ["x"], "page": 1, "brisque": [30.0], "reason": None})
    assert "<p>1 pages of &lt;b&gt;</p>" in Path(batch_report(tmp_path / "b.html", "<b>", "b", frame)).read_text()


RAISING = {"an error": lambda report: 1 / 0, "no part": lambda report: "text", "outside": lambda report: Part("X", template="<img src='//a.org'>"),
           "a template": lambda report: Part("X", template="{{ nobody }}"),
           "a template of ours": lambda report: Part("X", template="parts.html.j2#none"),
           "needs more": lambda report, more: Part("X")}


@pytest.mark.parametrize("name", RAISING)
def test_a_part_that_fails_is_seen_and_costs_nothing_else(parts, name, caplog):
    def mine(report): return RAISING[name](report)
    if name == "needs more": mine = RAISING[name]
    mine.__name__ = "mine"
    report_part("drift")(mine)
    html = check(drift_html(small()), broken=True)
    assert html.count("this part could not be made") == 1 and "41.3 %" in html and 'id="limits"' in html
    assert "mine" in caplog.text and "a.org" not in outside_addresses(html)


def test_a_secret_in_the_failure_is_not_shown(parts):
    @report_part("drift")
    def mine(report): raise ValueError("postgresql://me:secret@host/db token=abc")
    assert "secret" not in (html := drift_html(small())) and "abc" not in html


def test_a_part_may_be_replaced_and_taken_out(parts):
    @report_part("drift", 30)
    def moved_part(report): return Part("Mine instead")
    html = check(drift_html(small()))
    assert "Mine instead" in html and 'id="moved"' not in html
    del PARTS["drift"]["moved_part"]
    assert "Mine instead" not in drift_html(small())


def test_a_huge_part_does_not_make_the_page_huge(parts):
    @report_part("drift")
    def pictures(report): return Part("Pictures", "é" * 3_000_000)
    html = check(drift_html(small()), broken=True)
    assert "6.0 MB, too much" in html and "41.3 %" in html


def test_many_parts_of_one_title_have_places_of_their_own():
    html = check(page("t", "s", "low", "h", parts=[Part("Same", "a"), Part("Same", "b"), Part("日本", "c"), Part("", "d")], contents=True))
    assert html.count("<h2>Same</h2>") == 2 and make_parts("no such kind", {}) == []


# the weekly report


def week(n=3, **more):
    models = [{"model": f"model-{i}", "batches": 7, "pages": 700, "unreadable": 7, "blank": 14, "index": "brisque", "worst": [], "drift": [],
               "failing": [],
               "series": [{"time": DAY(d), "value": 30.0 + d % 2, "lower": None, "upper": 36.0, "verdict": "pass", "batch": str(d)} for d in range(1,
                       16)]}
              for i in range(n)]
    return {"week": "2026-W11", "since": DAY(9), "until": DAY(16), "models": models, "incidents": [], "jobs": [], "undelivered": []} | more


def incident(state="open", severity="critical", **more):
    return {"incident": "7c1f", "model": "model-1", "state": state, "severity": severity, "since": DAY(10), "last": DAY(12), "recovered": None,
            "series": "brisque",
            "value": 44.1, "limit": 36.2, "batches": 2} | more


def written(facts, folder): return check(Path(weekly_report(facts, folder / "w.html")).read_text(encoding="utf-8"))


def test_what_needs_somebody_comes_first(tmp_path):
    facts = week(3, incidents=[incident("recovered", recovered=DAY(13), model="model-0"), incident(),
                               incident("acknowledged", model="model-2", who="Kim")],
                 jobs=[{"job": "image_quality", "status": "lost", "error": "killed", "started": DAY(11)}],
                 undelivered=[{"model": "model-1", "kind": "told_opened", "recipient": "mailto://***@x", "state": "failed", "attempts": 5,
                               "error": "refused", "created": DAY(10)}])
    assert [(o["level"], o["model"]) for o in attention(facts)] == [("high", "model-1"), ("medium", None), ("medium", None), ("low", "model-2"),
                                                                    ("low", "model-0")]
    html = written(facts, tmp_path)
    cards = html.split('id="models"')[1].split("</section>")[0]
    assert [m[1] for m in re.finditer(r"<h3><span>(model-\d)", cards)] == ["model-1", "model-2", "model-0"]
    seen = words(html)
    for text in ("3 things need somebody", "worst 44.1, limit 36.2", "acknowledged by Kim", "image_quality lost", "1 delivery is not confirmed",
                 "told opened",
                 "refused", "700", "1.0 %", "2.0 %", "2026-W11"): assert text in seen, text
    assert cards.count("<figure") == 3
    assert weekly_text(facts).startswith("week 2026-W11: 3 things need somebody; 21 batches, 2,100 pages\nhigh    model-1: BRISQUE")


@pytest.mark.parametrize("facts, said", [({}, "No model is known yet"), (week(0), "No model is known yet"), (week(2), "All is well"),
                                         (week(1, models=[{"model": "m", "batches": 0}]), "Nothing was measured in this week")])
def test_a_quiet_week_is_a_page_that_says_so(facts, said, tmp_path):
    assert said in written(facts, tmp_path).split("<h1>")[1].split("</h1>")[0] and said in weekly_text(facts)


def test_many_models_and_hostile_names_stay_within_bounds(tmp_path):
    facts = week(300, incidents=[incident(incident=str(i), series="<b>", who="<i>" * 400) for i in range(500)])
    for i, m in enumerate(facts["models"]):
        m |= {"model": f"<script>{i}" + "x" * 400, "worst": [{"uri": '"><img src=//a.org>' + "u" * 2000, "page": 2, "value": math.nan}] * 50,
              "failing": [{"batch": "\x1b" + "b" * 900, "series": "unknown", "value": None, "limit": math.inf}] * 50,
              "drift": [{"metric": "drift_x", "time": DAY(10), "value": 0.2, "severity": "low"}] * 50}
    html = written(facts, tmp_path)
    assert "<script" not in html and "Also: " in html and "more are in the store" in html


def test_facts_that_are_missing_cost_nothing_else(tmp_path):
    for facts in (week(2, since=None), week(1, incidents=None), week(1, incidents=[{}, {"since": "soon", "recovered": 7}], jobs=[{}],
                                                                     undelivered=[{}]), week(1, models=[{}, {"model": None, "series": [{}]}]),
                  week(1, models=[{"model": "m", "index": "no_such_metric", "batches": 1, "series": [{"time": DAY(10), "value": 1}]}])):
        written(facts, tmp_path)
        weekly_text(facts)


# the job


MARCH = [f"2026-03-{d:02d}" for d in range(1, 16)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    "A store that the daily job filled: fifteen days of pages, the last two blurred and one file broken"
    folder = tmp_path_factory.mktemp("weekly")
    sheets = [synth.page(seed, dpi=60).gray for seed in range(4)]
    for n, day in enumerate(MARCH):
        (folder / "in" / day).mkdir(parents=True)
        for i in range(3):
            gray = synth.degrade(sheets[(n + i) % 4], "noise", 0.02, seed=10 * n + i)
            cv2.imwrite(str(folder / "in" / day / f"{i}.png"), synth.degrade(gray, "blur", 0.9) if n > 12 else gray)
    (folder / "in" / MARCH[-1] / "3.png").write_bytes(b"no picture")
    store = MetricStore(f"sqlite:///{folder / 'store.db'}")
    set_model(store, "m", metrics=["brisque", "contrast", "blank"], judge=["brisque"], rule="mean", min_points=8, k=4.0, max_unreadable=0.9)
    image_quality(str(folder / "in"), "m", store=store, home=str(folder), deliver=False, now=parse_time(DAY(15)))
    yield store, folder
    store.close()


def test_a_week_of_the_daily_job(measured):
    store, folder = measured
    before = store.series("m", "brisque"), store.events(), len(store.baselines())
    review = weekly_review(DAY(16), store=store, home=str(folder))
    html = check(Path(review.report).read_text(encoding="utf-8"))
    assert Path(review.report) == folder / "reports/weekly/2026-W11.html" and review.week == "2026-W11"
    model = review.facts["models"][0]
    assert (model["batches"], model["pages"], model["unreadable"]) == (6, 19, 1), "the days from the 10th to the 15th"
    assert [f["batch"] for f in model["failing"]] == MARCH[-2:] and all(f["value"] > f["limit"] for f in model["failing"])
    assert model["worst"][0]["uri"].split("/")[-2] in MARCH[-2:] and len(model["series"]) == 15
    assert [i["state"] for i in review.facts["incidents"]] == ["open"] and review.attention["model"][0] == "m" and review.severity in ("medium",
            "high")
    for text in (MARCH[-1], "BRISQUE", review.facts["incidents"][0]["incident"]): assert text in html
    assert weekly_review(DAY(16), store=store, home=str(folder)).report == review.report and Path(review.report).read_text(encoding="utf-8") == html
    after = store.series("m", "brisque"), store.events(), len(store.baselines())
    assert before[0].equals(after[0]) and before[1].equals(after[1]) and before[2] == after[2], "looking changes nothing"


def test_a_batch_belongs_to_one_week(measured):
    store, folder = measured
    weeks = [weekly_review(f"2026-03-{d:02d}T00:00:00Z", store=store, home=str(folder)) for d in (8, 15)]
    assert [w.facts["models"][0]["batches"] for w in weeks] == [7, 7] and [w.week for w in weeks] == ["2026-W10", "2026-W11"]


def test_points_of_any_kind_make_a_week(tmp_path):
    with MetricStore(f"sqlite:///{tmp_path / 'store.db'}") as store:
        for d in range(1, 16): store.log_metric("plain", "accuracy", 0.9 + d / 1000, DAY(d))
        store.put_points([{"point_id": f"d{i}", "model": "plain", "metric": "drift_inputs", "value": v, "time": DAY(14), "detail": {"severity": s}}
                          for i, (v, s) in enumerate(((0.1, "none"), (1.9, "high")))])
        set_model(store, "silent", index="brisque")
        review = weekly_review(DAY(16), store=store, home=str(tmp_path))
        only = weekly_review(DAY(16), models=["silent"], store=store, home=str(tmp_path))
        with pytest.raises(JobError, match="among plain, silent, got other"): weekly_review(DAY(16), models=["plain", "other"], store=store,
                home=str(tmp_path))
        for days in (0, 400, 1.5, True):
            with pytest.raises(SettingsError, match="1 to 366 days"): weekly_review(DAY(16), days=days, store=store, home=str(tmp_path))
    assert [m["batches"] for m in review.facts["models"]] == [6, 0] and review.severity == "high"
    assert [d["severity"] for d in review.facts["models"][0]["drift"]] == ["high",
                                                                           "none"] and [m["model"] for m in only.facts["models"]] == ["silent"]
    assert "Drift of the images 1.90" in review.text and "silent: no batch in this week" in review.text


def test_failed_jobs_and_messages_that_wait(tmp_path):
    with MetricStore(f"sqlite:///{tmp_path / 'store.db'}") as store:
        for i, (day, status) in enumerate(((1, "failed"), (11, "failed"), (12, "ok"))):
            store.start_run(f"job-{i}", f"job{i}", {}, parse_time(DAY(day)))
            store.end_run(f"job-{i}", status, error="cell 2: no folder" if status == "failed" else None)
        store.put_alert("a", "m", "brisque", 50.0, recipients=["mailto://someone@example.org"])
        store.log_metric("m", "brisque", 50.0, DAY(12))
        review = weekly_review(store=store, home=str(tmp_path), days=366)
        assert [j["job"] for j in weekly_review(DAY(16), store=store, home=str(tmp_path)).facts["jobs"]] == ["job1"]
    assert [d["state"] for d in review.facts["undelivered"]] == ["due"] and "someone" not in Path(review.report).read_text()


def test_the_scheduled_notebook_runs(measured, monkeypatch):
    store, folder = measured
    run = run_notebook("weekly_review", {"until": DAY(16)}, store=f"sqlite:///{folder / 'store.db'}", home=str(folder))
    html = Path(run.html).read_text()
    assert run.status == "ok" and "2026-W11" in html and html.count("data:image/png") == 1 and outside_addresses(html) == []


def test_a_week_ends_when_it_is_said_to_end():
    from ocr_quality.jobs.weekly import iso_week
    end = parse_time("2027-01-04T05:00:00Z")
    assert [iso_week(end - timedelta(days=7), end), iso_week(end - timedelta(days=1), end)] == ["2026-W53", "2026-W53"]
