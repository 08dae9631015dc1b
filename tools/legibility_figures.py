"""Figures that say how well a score follows the character error rate, with intervals by bootstrap over pages.

A page is drawn with all its images. Every figure is a function of `(W)`, how often each page was drawn, `(draws, pages)`; the first row of `W`
is 1 everywhere, so that the figure of the data itself is computed by the same lines. 2,000 draws of 6,000 rows take about a second.
"""
import numpy as np
import pandas as pd
from numba import njit
from scipy import optimize

DRAWS = 2000
LIMITS = (0.05, 0.10, 0.20)  # Error rates above which a page counts as bad
MIDDLE = (0.02, 0.9)  # Error rates between which pages are neither good nor hopeless
RECALL = 0.95


def draw_pages(
    pages: int,  # How many there are
    draws: int = DRAWS,
    seed: int = 0,
) -> np.ndarray:  # `(draws + 1, pages)` float64, how often each was drawn; 1 everywhere in the first row
    "Samples of pages with replacement"
    w = np.random.default_rng(seed).multinomial(pages, np.full(pages, 1 / pages), draws)
    return np.vstack([np.ones((1, pages)), w]).astype(float)


@njit(cache=True)
def _midranks(order, group, w, out):
    "Ranks of rows that count `w` times each; `order` sorts them, `group` (sorted) is the same for ties"
    total, i, n = 0.0, 0, order.size
    while i < n:
        j, sum_ = i, 0.0
        while j < n and group[j] == group[i]:
            sum_ += w[order[j]]
            j += 1
        for k in range(i, j): out[order[k]] = total + sum_ / 2
        total, i = total + sum_, j


@njit(cache=True)
def _correlation(x, y, w):
    sw = sx = sy = 0.0
    for i in range(w.size): sw += w[i]; sx += w[i] * x[i]; sy += w[i] * y[i]
    if sw <= 0: return np.nan
    mx, my, a, b, c = sx / sw, sy / sw, 0.0, 0.0, 0.0
    for i in range(w.size):
        dx, dy = x[i] - mx, y[i] - my
        a += w[i] * dx * dy; b += w[i] * dx * dx; c += w[i] * dy * dy
    return a / np.sqrt(b * c) if b > 1e-12 * sw and c > 1e-12 * sw else np.nan


@njit(cache=True)
def _spearmans(ox, gx, oy, gy, page, W):
    out, n = np.empty(W.shape[0]), page.size
    w, rx, ry = np.empty(n), np.empty(n), np.empty(n)
    for b in range(W.shape[0]):
        for i in range(n): w[i] = W[b, page[i]]
        _midranks(ox, gx, w, rx)
        _midranks(oy, gy, w, ry)
        out[b] = _correlation(rx, ry, w)
    return out


def _sorted(x):
    order = np.argsort(x, kind="stable")
    return order, np.cumsum(np.append(0, np.diff(x[order]) > 0))


def spearman(x, y, page, W):
    "Rank correlation, mid-ranks for ties, of each draw; the same as of the rows repeated as often as drawn"
    if len(x) < 3: return np.full(len(W), np.nan)
    return _spearmans(*_sorted(np.asarray(x, float)), *_sorted(np.asarray(y, float)), np.asarray(page), W)


@njit(cache=True)
def _pairs(x, y, page, pages):
    "Sums over pairs of rows of two pages: agreement, untied in x, untied in y"
    s, ux, uy = np.zeros((pages, pages)), np.zeros((pages, pages)), np.zeros((pages, pages))
    for i in range(x.size):
        for j in range(i):
            a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
            p, q = page[i], page[j]
            s[p, q] += a * b; ux[p, q] += a * a; uy[p, q] += b * b
    return s, ux, uy


def kendall(x, y, page, W):
    "Kendall's tau-b of each draw, from sums over pairs of pages"
    s, ux, uy = (np.einsum("bp,pq,bq->b", W, m, W, optimize=True) for m in _pairs(np.asarray(x, float), np.asarray(y, float), page, W.shape[1]))
    with np.errstate(invalid="ignore", divide="ignore"): return s / np.sqrt(ux * uy)


def per_page(values, page, W):
    "Sums of `values` (n,) over the pages of each draw"
    return W @ np.bincount(page, values, W.shape[1])


def mean(values, page, W):
    "Mean of `values` (n,) over the rows of each draw"
    with np.errstate(invalid="ignore"): return per_page(np.asarray(values, float), page, W) / per_page(np.ones(len(values)), page, W)


def pearson(x, y, page, W):
    "Correlation of each draw"
    x, y = x - np.mean(x), y - np.mean(y)
    mx, my, xx, yy, xy = (mean(v, page, W) for v in (x, y, x * x, y * y, x * y))
    with np.errstate(invalid="ignore", divide="ignore"): return (xy - mx * my) / np.sqrt((xx - mx**2) * (yy - my**2))


@njit(cache=True)
def _curves(order, group, bad, page, W, recall):
    "Area under the ROC curve, and share of good rows sent back where `recall` of the bad ones are, of each draw; the worst score comes first"
    area, fpr, n = np.empty(W.shape[0]), np.empty(W.shape[0]), order.size
    for b in range(W.shape[0]):
        pos = neg = 0.0
        for i in range(n):
            if bad[i]: pos += W[b, page[i]]
            else: neg += W[b, page[i]]
        area[b] = fpr[b] = np.nan
        if pos <= 0 or neg <= 0: continue
        tp = fp = a = 0.0
        i, found = 0, False
        while i < n:
            j, p, q = i, 0.0, 0.0
            while j < n and group[j] == group[i]:
                k = order[j]
                if bad[k]: p += W[b, page[k]]
                else: q += W[b, page[k]]
                j += 1
            a += q * (tp + p / 2)
            tp += p; fp += q; i = j
            if not found and tp >= recall * pos: fpr[b] = fp / neg; found = True
        area[b] = a / (pos * neg)
    return area, fpr


def roc(score, bad, page, W):
    "Area under the ROC curve and share of good rows sent back at 95 % recall, of each draw"
    order, group = _sorted(-np.asarray(score, float))
    return _curves(order, group, np.asarray(bad), page, W, RECALL)


def weighted_median(values, W):
    "Median of `values` (P,) that count `W` (draws, P) times; NaN are left out"
    there = np.isfinite(values)
    order = np.argsort(values[there])
    v, total = values[there][order], np.cumsum(W[:, there][:, order], 1)
    if not v.size: return np.full(len(W), np.nan)
    half = total[:, -1:] / 2
    low, high = (total >= half).argmax(1), (total > half).argmax(1)
    return np.where(total[:, -1] > 0, (v[low] + v[high]) / 2, np.nan)


def within_pages(score, cer, page, W, least=5):
    "Median over pages of the rank correlation within each page that has `least` rows or more of different error"
    one = np.ones((1, 1))
    each = np.full(W.shape[1], np.nan)
    for p in np.unique(page):
        rows = page == p
        if rows.sum() >= least: each[p] = spearman(score[rows], cer[rows], np.zeros(rows.sum(), np.int64), one)[0]
    return weighted_median(each, W)


def logistic4(score, cer):
    "`cer` from `score` by the four-parameter logistic that is usual in image quality, fitted to these very rows"
    s = (score - np.mean(score)) / (np.std(score) or 1)
    def curve(b): return b[1] + (b[0] - b[1]) / (1 + np.exp(np.clip(-(s - b[2]) / (abs(b[3]) + 1e-3), -500, 500)))
    fits = [optimize.least_squares(lambda b: curve(b) - cer, [top, bottom, 0, 0.5], max_nfev=200)
            for top, bottom in ((np.max(cer), np.min(cer)), (np.min(cer), np.max(cer)))]
    return curve(min(fits, key=lambda f: f.cost).x)


def all_figures(
    cer: np.ndarray,  # `(n,)`, 0 to 1
    score: np.ndarray,  # `(n,)`, higher is worse
    page: np.ndarray,  # `(n,)` int, 0 to pages - 1
    W: np.ndarray,  # From `draw_pages`
    is_rate: bool = False,  # Whether `score` is an expected error rate; else it is made one by `logistic4`, in its favour
) -> dict[str, np.ndarray]:  # Figure to its value in each draw, the data themselves first
    "Every figure of the protocol for one score"
    cer, score, page = np.asarray(cer, float), np.asarray(score, float), np.asarray(page)
    rate = logistic4(score, cer)
    middle = (cer > MIDDLE[0]) & (cer < MIDDLE[1])
    out = {"srocc": spearman(score, cer, page, W), "kendall": kendall(score, cer, page, W), "plcc": pearson(score, cer, page, W),
           "plcc_logistic": pearson(rate, cer, page, W), "within_page": within_pages(score, cer, page, W),
           "middle": spearman(score[middle], cer[middle], page[middle], W)}
    expected = score if is_rate else rate
    out |= {"rmse": np.sqrt(mean((expected - cer) ** 2, page, W)), "mae": mean(abs(expected - cer), page, W), "bias": mean(expected - cer, page, W)}
    for limit in LIMITS: out[f"auc_{limit:.0%}"], out[f"fpr_{limit:.0%}"] = roc(score, cer > limit, page, W)
    lowest, highest = score == score.min(), score == score.max()
    out |= {"tied_low": mean(lowest * (lowest.sum() > 1), page, W), "tied_high": mean(highest * (highest.sum() > 1), page, W)}
    return out


def interval(draws):
    "Value, and the 2.5 and 97.5 percentiles of the draws behind it"
    rest = draws[1:][np.isfinite(draws[1:])]
    low, high = np.quantile(rest, (0.025, 0.975)) if rest.size > 20 else (np.nan, np.nan)
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}


def tidy(found: dict[str, np.ndarray], **keys) -> pd.DataFrame:
    "One row a figure: `keys`, figure, value, low, high"
    return pd.DataFrame([keys | {"figure": k} | interval(v) for k, v in found.items()])


def difference(ours: dict, theirs: dict, **keys) -> pd.DataFrame:
    "Ours less theirs, drawn together"
    return tidy({k: ours[k] - theirs[k] for k in ours if k in theirs}, **keys)


def batch_means(
    cer: np.ndarray,  # `(n,)`
    expected: np.ndarray,  # `(n,)`
    page: np.ndarray,  # `(n,)`
    family: np.ndarray,  # `(n,)`
    size: int = 30,  # Pages in a batch, each under one of its conditions
    batches: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:  # family ("all": mixed), pages, share of batches within 0.05, bias, 95th percentile of the deviation
    "How far the mean expected error of a batch is from the true mean: batches of mixed damage, and batches that share one family"
    rng, rows = np.random.default_rng(seed), []
    for name, here in [("all", np.ones(len(cer), bool))] + [(f, family == f) for f in np.unique(family)]:
        at = np.flatnonzero(here)
        codes, p = np.unique(page[at], return_inverse=True)
        order = np.argsort(p, kind="stable")
        count = np.bincount(p)
        start = np.cumsum(count) - count
        few = len(codes) < size
        picks = rng.integers(0, len(codes), (batches, size)) if few else rng.random((batches, len(codes))).argsort(1)[:, :size]
        chosen = at[order[start[picks] + (rng.random(picks.shape) * count[picks]).astype(int)]]
        off = expected[chosen].mean(1) - cer[chosen].mean(1)
        within, p95 = (abs(off) <= 0.05).mean(), np.quantile(abs(off), 0.95)
        rows.append({"family": name, "pages": len(codes), "within_0.05": within, "bias": off.mean(), "p95": p95})
    return pd.DataFrame(rows)


def coverage(cer, low, high, page, family, W):
    "Share of rows inside their interval and mean width, pages equal, for all and for each family"
    rows, inside = [], (low <= cer) & (cer <= high)
    for name, here in [("all", np.ones(len(cer), bool))] + [(f, family == f) for f in np.unique(family)]:
        count = np.bincount(page[here], minlength=W.shape[1])
        share = np.bincount(page[here], inside[here], W.shape[1]) / np.maximum(count, 1)
        with np.errstate(invalid="ignore"): draws = (W * (count > 0)) @ share / (W @ (count > 0))
        rows.append({"family": name, "width": float((high - low)[here].mean())} | interval(draws))
    return pd.DataFrame(rows)
