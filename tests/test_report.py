"Every page of HTML we write needs nothing but itself, stays below 2 MB, escapes what it shows, and shows pages only when asked."
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from ocr_quality.core import JobError
from ocr_quality.judge.cause import explain
from ocr_quality.metrics import METRICS, metric_info
from ocr_quality.synth import page, series
from ocr_quality.tell.change import badness, metric_words, moved, moved_by_tag, worst_pages
from ocr_quality.tell.html import clean_html, outside_addresses
from ocr_quality.tell.plot import contact_sheet, plot_distribution, plot_series, svg, thumbnail
from ocr_quality.tell.report import batch_report, notebook_html

PAGE_METRICS = [m for m in METRICS if not m.endswith("_share") and m not in ("pages", "blank")]


def pages_of(n=200, seed=0, shift=0.0, batch="2026-03-13", scanners=5, prefix=""):
    rng = np.random.default_rng(seed)
    scanner = rng.integers(scanners, size=n)
    bad = np.where(scanner == 2 % scanners, shift, 0.0)
    uris = [f"{prefix}{batch}/scanner-{s}/claim_{i:05d}.jpg" for i, s in enumerate(scanner)]
    frame = pd.DataFrame({"batch": batch, "time": pd.Timestamp("2026-03-13", tz="UTC"), "uri": uris,
                          "page": 1, "tag_scanner": [f"scanner-{s}" for s in scanner], "blank": 0.0, "reason": None})
    for m in PAGE_METRICS:
        frame[m] = 30 + rng.standard_normal(n) + bad * (-1 if metric_info(m).worse == "low" else 1)
        frame[m + "_reason"] = None
    return frame


def judged_of(metric, n=60, last="fail"):
    frame, _ = series(n, metric=metric)
    sd = frame.value.std()
    verdict = np.where(frame.index < 7, "learning", "pass").astype(object)
    verdict[-1] = last
    return frame.assign(centre=frame.value.mean(), lower=frame.value.mean() - 3 * sd, upper=frame.value.mean() + 3 * sd, history=30, verdict=verdict,
                        reason="mean of 30 batches", batch=[*frame.batch[:-1], "2026-03-13"])


@pytest.fixture(scope="module")
def before(): return pd.concat([pages_of(60, seed=i, batch=f"2026-03-{i:02d}") for i in range(1, 13)], ignore_index=True)


def report(folder, *args, **kw):
    path = batch_report(Path(folder) / "report.html", *args, **kw)
    html = Path(path).read_text(encoding="utf-8")
    assert "could not be made" not in html, "a part of the report failed"
    return html


def test_5000_pages_stay_below_2_mb_and_inside(tmp_path):
    now = pages_of(5000, shift=8, scanners=700, prefix="s3://bucket/" + "very-long-folder/" * 30)
    now.loc[:999, [*PAGE_METRICS, "blank"]] = np.nan
    now.loc[:999, "reason"] = [f"unreadable: reason number {i} " + "x" * 500 for i in range(1000)]
    now.loc[1000:1200, "blank"] = 1.0
    before = pages_of(5000, seed=1, scanners=700, batch="2026-03-12")
    judged = {name: judged_of(name, 1500) for m in PAGE_METRICS for name in (m, m + "_p90")}
    html = report(tmp_path, "claims-ocr", "2026-03-13", now, judged, before=before, alert_text="x" * 10**6,
                  settings={"a": "b" * 10**5})
    assert outside_addresses(html) == []
    assert len(html.encode()) < 2_000_000
    assert "5,000" in html and "1,000" in html


def test_pictures_only_when_asked(tmp_path):
    rows = []
    for i in range(14):
        noise = np.random.default_rng(i).integers(0, 256, (1600, 1200), np.uint8)
        cv2.imwrite(str(tmp_path / f"claim_{i:02d}.png"), noise)
        rows.append({"batch": "b", "time": pd.Timestamp("2026-03-13", tz="UTC"), "uri": str(tmp_path / f"claim_{i:02d}.png"), "page": 1,
                     "brisque": 30.0 + i, "brisque_reason": None, "blank": 0.0, "reason": None})
    pages = pd.DataFrame(rows)
    (tmp_path / "claim_13.png").unlink()
    without, shown = report(tmp_path, "m", "b", pages), report(tmp_path, "m", "b", pages, show_pages=True)
    assert "data:image" not in without and "<img" not in without
    assert shown.count("data:image/jpeg") == 11 and "cannot be read any more" in shown, "the worst page is gone since it was measured"
    assert outside_addresses(shown) == [] and len(shown.encode()) < 2_000_000
    assert len(contact_sheet(pages, "brisque", show_pages=False).axes) == 0
    assert any(ax.images for ax in contact_sheet(pages, "brisque", show_pages=True).axes)


def test_thumbnails_of_whatever_a_page_came_from(tmp_path):
    gray = page(dpi=60).gray
    cv2.imwrite(str(tmp_path / "[1] a!b.png"), gray)
    with zipfile.ZipFile(tmp_path / "mail.zip", "w") as z: z.write(tmp_path / "[1] a!b.png", "in/p.png")
    Image.fromarray(gray).save(tmp_path / "two.pdf", save_all=True, append_images=[Image.fromarray(255 - gray)])
    there = (("[1] a!b.png", 1), ("mail.zip!in/p.png", 1), ("two.pdf", 1), ("two.pdf", 2))
    seen = [thumbnail(f"{tmp_path}/{name}", n, 100) for name, n in there]
    assert [s.shape[1] for s in seen] == [100] * 4 and [s.mean() > 128 for s in seen] == [True, True, True, False]
    gone = (("gone.png", 1), ("two.pdf", 3), ("mail.zip!in/q.png", 1), ("none.zip!p.png", 1))
    assert [thumbnail(f"{tmp_path}/{name}", n) for name, n in gone] == [None] * 4


@pytest.mark.parametrize("nasty", ["<script src=//a.org></script>", '"><img src=https://a.org/x.png onerror=alert(1)>', "{{ 7 * 7 }}",
                                   "$\\frac{1}$ & <b>", "url(https://a.org)"])
def test_every_text_is_escaped(tmp_path, before, nasty):
    now = pages_of(50, shift=8)
    now.loc[now.index[:30], "uri"] = nasty
    now["tag_scanner"] = np.where(now.index < 25, nasty, "scanner-1")
    now.loc[0, ["reason", *PAGE_METRICS]] = [nasty] + [np.nan] * len(PAGE_METRICS)
    judged = {"brisque": judged_of("brisque").assign(reason=nasty)}
    html = report(tmp_path, nasty, "2026-03-13", now, judged, before=before, alert_text=nasty, settings={nasty: nasty})
    assert outside_addresses(html) == []
    assert "<script" not in html and "onerror=alert(1)>" not in html.replace("&gt;", "")
    assert "49" not in html.split("<footer>")[1].split("Settings")[1]
    svg(contact_sheet(now, "brisque")), svg(plot_distribution(now, before, "brisque"))


@pytest.mark.parametrize("verdict,words", [("fail", "worse than it should be"), ("pass", "as the ones before"),
                                           ("learning", "Too few batches"), ("missing", "no index")])
def test_the_verdict_in_plain_words(tmp_path, before, verdict, words):
    html = report(tmp_path, "m", "2026-03-13", pages_of(), {"brisque": judged_of("brisque", last=verdict)}, before=before)
    assert words in html.split("<h1>")[1].split("</h1>")[0]


def test_a_batch_fails_with_any_of_its_series(tmp_path):
    judged = {"brisque": judged_of("brisque", last="pass"), "sharpness_p10": judged_of("sharpness", last="fail")}
    html = report(tmp_path, "m", "2026-03-13", pages_of(), judged)
    assert "worse than it should be" in html and "Sharpness, 10th percentile is" in html


POOR = {"one": pages_of(1), "unreadable": pages_of(3).assign(reason="empty file", **{m: np.nan for m in PAGE_METRICS}),
        "blank": pages_of(4).assign(blank=1.0), "untagged": pages_of(5).drop(columns=["tag_scanner"]),
        "one metric": pages_of(5)[["batch", "time", "uri", "page", "reason", "contrast", "contrast_reason"]]}
NO_VALUE = judged_of("brisque").assign(value=np.nan, centre=np.nan, lower=np.nan, upper=np.nan, verdict="missing")


@pytest.mark.parametrize("pages", POOR.values(), ids=POOR)
@pytest.mark.parametrize("judged", [{}, {"brisque": judged_of("brisque", 1)}, {"unreadable_share": judged_of("unreadable_share")},
                                    {"brisque": NO_VALUE}], ids=["unjudged", "first", "unreadable", "no value"])
def test_poor_batches_have_reports_too(tmp_path, before, pages, judged):
    html = report(tmp_path, "", "b", pages, judged, before=before)
    assert outside_addresses(html) == [] and "</html>" in html


def test_metrics_without_reasons_have_a_report(tmp_path, before):
    bare = pages_of()[["batch", "time", "uri", "page", "brisque", "sharpness"]]
    assert "All metrics" in report(tmp_path, "m", "b", bare) and "All metrics" not in report(tmp_path, "m", "b", bare[["batch", "uri", "page"]])


def test_parts_are_no_finer_than_the_metric(tmp_path, before):
    found = explain(pages_of(shift=5), before, "sharpness").to_dict()
    found["mix"][0] |= {"mix": 7.11e-15, "mix_low": -7.11e-15, "mix_high": 0.00963, "new": 3e-16}
    html = report(tmp_path, "m", "2026-03-13", pages_of(shift=5), {"sharpness": judged_of("sharpness")}, before=before, cause=found)
    unit = next(m["unit"] for m in found["moves"] if m["metric"] == "sharpness")
    assert unit > 1 and "<td>0 (0 to 0)</td>" in html and "e-1" not in html.split("Other pages, or worse ones?")[1].split("</table>")[0]


def test_pages_have_the_number_they_were_chosen_by(tmp_path, before):
    now = pages_of(shift=8)
    found = explain(now, before, "brisque_p90").to_dict()
    one = {"uri": "u.jpg", "page": 1, "brisque": 11.25, "sharpness": 22.5, "metric": "sharpness", "value": 22.5}
    found["drivers"] = [one | {"contribution": 1.0, "why": ""}]
    html = report(tmp_path, "m", "2026-03-13", now, {"brisque": judged_of("brisque")}, before=before, cause=found)
    pages = html.split("The pages that made the difference")[1].split("</table>")[0]
    assert "Sharpness" in pages and "22.5" in pages and "11.2" not in pages


def test_moves_wrap_on_a_phone_so_that_p_is_seen(tmp_path, before):
    phone = report(tmp_path, "m", "2026-03-13", pages_of(shift=8), before=before).split("@media (max-width: 560px)")[1].split("</style>")[0]
    assert "td.move { white-space: normal; }" in phone and ".earlier { display: none; }" in phone


def test_report_is_the_same_twice(tmp_path, before):
    now, judged = pages_of(), {"brisque": judged_of("brisque")}
    a, b = (report(tmp_path, "m", "2026-03-13", now, judged, before=before) for _ in range(2))
    assert a == b


def test_threads_may_draw_at_once(before):
    now, results = pages_of(shift=5), []
    def draw():
        for _ in range(3):
            figures = plot_series(judged_of("brisque"), "brisque"), plot_distribution(now, before, "contrast")
            results.append([svg(f) for f in figures])
    threads = [threading.Thread(target=draw) for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(results) == 12 and all(r == results[0] for r in results)


def test_drawing_leaves_pyplot_alone():
    code = """if True:
        import sys, pandas as pd
        from ocr_quality.tell.plot import plot_series, svg
        time = pd.Timestamp("2026-01-01", tz="UTC")
        svg(plot_series(pd.DataFrame({"time": [time], "value": 1, "centre": 1, "lower": 0, "upper": 2, "verdict": "pass"}), "noise"))
        print([m for m in sys.modules if "pyplot" in m])"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_executed_notebook(tmp_path):
    "A real run: a table, a picture of ours, a plotly figure, a progress bar, a link, a traceback"
    cells = [new_markdown_cell('# Claims\n<script src="https://a.org/x.js"></script>\n\n[a link](https://example.org/x) <img src="//a.org/x.png">'),
             new_code_cell("import pandas as pd, plotly.graph_objects as go\nfrom tqdm.auto import tqdm", metadata={"tags": ["parameters"]}),
             new_code_cell("pd.DataFrame({'uri': ['<b>&', 'https://a.org'], 'value': [1.5, 2]})"),
             new_code_cell("pd.DataFrame({'a': [1, 2]}).style.bar()"),
             new_code_cell("from ocr_quality.synth import series\nfrom ocr_quality.tell.plot import plot_series\ns, _ = series(30)\n"
                           "plot_series(s.assign(centre=25, lower=20, upper=30, verdict='pass'), 'brisque')"),
             new_code_cell("go.Figure(go.Scatter(y=[1, 3, 2]))"),
             new_code_cell("go.Figure(go.Scatter(y=[1, 3, 2])).show(renderer='notebook_connected')"),
             new_code_cell("for _ in tqdm(range(3)): pass\nprint('\\x1b[31mred\\x1b[0m', 'n' * 10**6)"),
             new_code_cell("raise ValueError('the end <b>')", metadata={"tags": ["raises-exception"]})]
    from nbclient import NotebookClient
    nb = NotebookClient(new_notebook(cells=cells), timeout=60, kernel_name="python3").execute()
    nbformat.write(nb, tmp_path / "run.ipynb")
    html = Path(notebook_html(tmp_path / "run.ipynb", tmp_path / "run.html")).read_text(encoding="utf-8")
    assert outside_addresses(html) == [] and "<script" not in html and len(html) < 1_000_000
    assert html.count("data:image/png;base64,") == 1 and html.count("An interactive figure") == 2
    for words in ("<title>Claims</title>", "a link (example.org/x)", "&lt;b&gt;&amp;", "the end &lt;b&gt;", "red", "<th>value</th>"):
        assert words in html, words


def test_pictures_beside_the_notebook_travel_inside(tmp_path):
    cv2.imwrite(str(tmp_path / "p.png"), page(dpi=20).gray)
    nbformat.write(new_notebook(cells=[new_markdown_cell("![p](p.png) ![gone](gone.png) ![far](https://a.org/far.png)")]), tmp_path / "a.ipynb")
    html = Path(notebook_html(tmp_path / "a.ipynb", tmp_path / "a.html")).read_text()
    assert outside_addresses(html) == [] and html.count("data:image") == 1


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}", '{"cells": 5, "nbformat": 4}'])
def test_what_is_no_notebook_is_refused(tmp_path, text):
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(JobError, match="expected a Jupyter notebook"): notebook_html(tmp_path / "a.ipynb", tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize("html,n", [
    ('<a href="#x">', 0), ('<img src="data:image/png;base64,AA">', 0), ("<p>https://a.org", 0), ('<a href="https://a.org">', 1),
    ('<img src="x.png">', 1), ('<IMG SRC="//a.org/x">', 1), ('<img srcset="x.png 2x">', 1), ('<a href=" https://a.org">', 1),
    ('<svg xmlns="http://www.w3.org/2000/svg"><use xlink:href="#g"/></svg>', 0), ('<use xlink:href="https://a.org#g"/>', 1),
    ("<style>a{background:url(data:image/png;base64,AA)} b{fill:url(#g)}</style>", 0), ("<style>a{background:url('x.png')}</style>", 1),
    ("<style>@import 'x.css';</style>", 1), ('<p style="background:url(//a.org)">', 1), ("<script>fetch('/x')</script>", 1),
    ("<script>var a = 1 // b</script>", 0), ("<script>import('https://a.org/x.js')</script>", 2), ('<a href="javascript:alert(1)">', 1),
    ('<meta http-equiv="refresh" content="0; url=https://a.org">', 1), ('<iframe src="data:text/html,x">', 1)])
def test_what_counts_as_outside(html, n):
    assert len(outside_addresses(html)) == n
    assert outside_addresses(clean_html(html)) == []


# what moved


def test_a_minority_out_of_focus_is_named(before):
    now = pages_of(120, seed=99, shift=12)
    for m in PAGE_METRICS:
        if m != "sharpness": now[m] = pages_of(120, seed=99)[m]
    table, tags = moved(now, before), moved_by_tag(now, before, "sharpness")
    assert table.metric[0] == "sharpness" and table.statistic[0] == "p10" and table.moved[0] > 10 and table.moved[1] < 5
    assert tags.value[0] == "scanner-2" and tags.share[0] > 0.9 and tags.pages_now.sum() == 120


def test_moved_is_quiet_when_nothing_moved():
    def past(i): return pd.concat([pages_of(60, seed=1000 * i + j, batch=f"b{j}") for j in range(15)])
    worst = [moved(pages_of(60, seed=100 + i), past(i)).moved.max() for i in range(10)]
    assert np.median(worst) < 3.5, "the largest of a dozen metrics, two statistics each"


@pytest.mark.parametrize("metric,now,sign", [("brisque", 40, 1), ("brisque", 20, -1), ("sharpness", 20, 1), ("sharpness", 40, -1),
                                             ("text_height_px", 70, 1), ("text_height_px", 8, 1), ("brightness", 100, 1)])
def test_positive_is_worse(before, metric, now, sign):
    level = 200 if metric == "brightness" else 30
    past = before.assign(**{metric: before[metric] - 30 + level})
    frame = pages_of(60).assign(**{metric: now + pages_of(60)[metric] - 30})
    row = moved(frame, past).set_index("metric").loc[metric]
    assert np.sign(row.moved) == sign and np.sign(row.moved_pages) == sign


def test_back_to_the_good_range_is_no_worsening(before):
    row = moved(pages_of(60), before.assign(text_height_px=before.text_height_px - 22)).set_index("metric").loc["text_height_px"]
    assert row.moved < 0, "from 8 px to 30 px"


def test_skew_is_judged_by_its_size(before):
    sign = np.where(np.arange(60) % 2, 1, -1)
    row = moved(pages_of(60).assign(skew_deg=3.0 * sign), before.assign(skew_deg=0.2)).set_index("metric").loc["skew_deg"]
    assert row.moved > 0 and row.now == 3
    assert worst_pages(pages_of(60).assign(skew_deg=np.r_[-9.0, np.ones(59)]), "skew_deg", 1).skew_deg[0] == -9


def test_unreadable_and_blank_shares_move(before):
    now = pages_of(60)
    now.loc[:29, "reason"] = "empty file"
    table = moved(now, before)
    assert table.metric[0] == "unreadable_share" and table.now[0] == 0.5 and table.before[0] == 0
    assert list(worst_pages(now, "unreadable_share", 3).reason) == ["empty file"] * 3


def test_a_constant_metric_that_changes_comes_first(before):
    table = moved(pages_of(60).assign(clipped=0.5), before.assign(clipped=0.0))
    assert table.metric[0] == "clipped" and 100 < table.moved[0] < np.inf


def test_a_scanner_never_seen_before_is_compared_with_all(before):
    now = pages_of(60).assign(tag_scanner="new", brisque=50.0)
    now.loc[:9, ["tag_scanner", "brisque"]] = ["scanner-1", 30.0]
    tags = moved_by_tag(now, before, "brisque_p90")
    assert (tags.value[0], tags.pages_before[0], tags.share[0]) == ("new", 0, pytest.approx(1, abs=0.02))


@pytest.mark.parametrize("metric", list(METRICS))
def test_every_metric_has_words_and_pictures(before, metric):
    assert metric_words(metric) and len(badness([1.0, 2.0], metric)) == 2
    svg(plot_series(judged_of(metric), metric))
    if metric in before: svg(plot_distribution(pages_of(), before, metric))
