"""The chart beside the rolling rules at an equal false-alarm rate: false alarms, detection, and speed.

    python benchmarks/bench_judge.py [--count 2000] [--workers 2] [--seed 1]

Every series has a baseline of its own: its first 60 batches, on which the chart is calibrated for one false alarm in 365 batches. Batches come
daily. `k for 1 in 365` is the width at which a rolling rule makes one false alarm in 365 Gaussian batches, by Student's t; it judges the same
series, and its window reaches back into the baseline.

Counting. False alarms: 1,095 batches in control after the baseline of each series, the chart's sum set back to 0 after each alarm; of a rolling
rule each failing batch counts. Detection: 20 quiet batches after the baseline, then the fault for 365 batches; runs with an alarm in the quiet
spell are set aside; the first faulty batch is delay 1; a run without an alarm has an infinite delay. Every figure is over series, each with its
own baseline.

Pages: a batch is the median of n normal pages whose mean scatters by 0.2 page sd between batches; 20 % bad pages are each as bad as can be.
About 20 minutes on two free cores; --count 200 takes a tenth of that and is good for a look.
"""
import argparse
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from ocr_quality import synth
from ocr_quality.judge.baseline import fit_baseline
from ocr_quality.judge.chart import ChartRule, judge_chart, own_baselines
from ocr_quality.judge.panel import Panel, alarms, delays, incidents, learn
from ocr_quality.judge.strategy import at_rate, parse_strategy

BASELINE, QUIET, YEARS, EVERY = 60, 20, 1095, 365
MONDAY = np.datetime64("2026-01-05")
CHARTS = {"chart": ChartRule(EVERY), "chart normal": ChartRule(EVERY, normal=True)}
GIVEN = {"7d k=3": parse_strategy("7d"), "30d k=3": parse_strategy("30d")}
EQUAL = {f"{w} k={r.k:g}": r for w, r in ((w, at_rate(parse_strategy(w), EVERY)) for w in ("7d", "30d"))}
KINDS = {"Gaussian": {}, "t(4)": {"df": 4}, "AR(0.3)": {"ar": 0.3}, "weekday pattern": {"week": 1}, "5 pages": {"pages": (5, 5)},
         "50 pages": {"pages": (50, 50)}, "500 pages": {"pages": (500, 500)}, "5 to 500 pages": {"pages": (5, 500)}, "20 % missing": {"missing": 0.2},
         "skewed by 1": {"gamma": 4}, "skewed by 1.4": {"gamma": 2}}
FAULTS = ("step 0.5 sd", "step 1 sd", "step 2 sd", "ramp 0.05 sd", "ramp 0.1 sd", "variance x 2", "spike 6 sd", "spike 8 sd", "20 % bad pages")
BY_ITSELF, GATHER = ("Gaussian", "t(4)", "AR(0.3)"), 130


def medians(rng, pages, bad):
    "Medians of `pages` standard normal pages each, of which every one is as bad as can be with probability `bad`: exact, by order statistics"
    good = pages - rng.binomial(pages, bad) if bad else pages
    low = np.minimum((pages + 1) // 2, good)
    first = rng.beta(low, good + 1 - low)
    rest = good - low
    second = np.where((pages % 2 == 0) & (rest > 0), first + (1 - first) * (1 - rng.random(pages.shape) ** (1 / np.maximum(rest, 1))), first)
    from scipy.special import ndtri
    return (ndtri(first) + ndtri(second)) / 2


def draw(kind, count, n, rng):
    "Values `(count, n)` in control, positive is worse, and page counts or None"
    how = KINDS[kind]
    if "pages" in how:
        low, high = how["pages"]
        pages = np.rint(np.exp(rng.uniform(np.log(low), np.log(high), (count, n)))).astype(int)
        return medians(rng, pages, 0) + 0.2 * rng.normal(size=(count, n)), pages
    if "gamma" in how: return (rng.gamma(how["gamma"], size=(count, n)) - how["gamma"]) / how["gamma"] ** 0.5, None
    x, _, _ = synth.series_matrix(count, n, seed=int(rng.integers(2**31)), ar=how.get("ar", 0), df=how.get("df"), missing=how.get("missing", 0))
    if "week" in how: x = x + np.array([1, 0.3, 0, 0, -0.3, -0.5, -0.5])[np.arange(n) % 7]
    return x, None


def damage(x, fault, onset, rng):
    "`x` with a fault from `onset` on"
    y, size, nth = x.copy(), float(fault.split()[-2]) if "sd" in fault else 0.0, np.arange(1, x.shape[1] - onset + 1)
    if fault.startswith("step"): y[:, onset:] += size
    elif fault.startswith("ramp"): y[:, onset:] += size * nth
    elif fault.startswith("spike"): y[:, onset] += size
    elif fault.startswith("variance"): y[:, onset:] *= 2**0.5
    else: y[:, onset:] = medians(rng, np.full(y[:, onset:].shape, 50), 0.2) + 0.2 * rng.normal(size=y[:, onset:].shape)
    return y


def panel(x, pages): return Panel(25 + x, BASELINE, times=MONDAY + np.arange(x.shape[1]), pages=pages)


def cell(task):
    "All figures of one kind of series"
    kind, count, seed = task
    rng = np.random.default_rng((seed, list(KINDS).index(kind)))
    x, pages = draw(kind, count, BASELINE + YEARS, rng)
    calm, faults = panel(x, pages), {"Gaussian": FAULTS[:-1], "50 pages": FAULTS[-1:]}.get(kind, ())
    rules = {k: v for k, v in CHARTS.items() if k == "chart" or faults}
    learned = {k: learn(calm, v) for k, v in rules.items()}
    false, seen = {}, {}
    for name, rule in {**rules, **GIVEN, **EQUAL}.items():
        rate = EVERY * alarms(calm, rule, learned.get(name), restart=True).sum(1) / calm.came[:, BASELINE:].sum(1)
        told = incidents(alarms(calm, rule, learned.get(name)), calm.came).sum() / calm.came[:, BASELINE:].sum()
        false[name] = rate.mean(), rate.std(ddof=1) / count**0.5, (rate == 0).mean(), np.quantile(rate, 0.9), EVERY * told
    if kind in BY_ITSELF: false["by itself"] = by_itself(x[: max(count // 4, 2)], CHARTS["chart"])
    onset = BASELINE + QUIET
    for fault in faults:
        worse = panel(damage(x[:, : onset + 365], fault, onset, rng), None if pages is None else pages[:, : onset + 365])
        for name, rule in {**rules, **EQUAL}.items():
            delay = delays(alarms(worse, rule, learned.get(name)), worse.came, onset)
            runs = delay[~np.isnan(delay)]
            seen[fault, name] = (float(np.median(runs)), *((runs <= n).mean() for n in (7, 14, 30)), len(runs), (runs == 1).mean())
    return kind, false, seen


def by_itself(x, rule):
    "False alarms on the baselines that the chart gathers by itself: mean and standard error"
    series = Panel(25 + x, GATHER, times=MONDAY + np.arange(x.shape[1]))
    own = [own_baselines(series.frame(i).head(GATHER), series.metric, rule)[-1] for i in range(len(x))]
    rate = EVERY * alarms(series, rule, own, restart=True).sum(1) / series.came[:, GATHER:].sum(1)
    return rate.mean(), rate.std(ddof=1) / len(rate) ** 0.5


def mark(good): return "" if good else "  missed"


def print_false(cells):
    "First table"
    print(f"\nFalse alarms in {EVERY} batches in control, mean over series ± standard error; chart: aim 0.5 to 1.25")
    names = ["chart", *GIVEN, *EQUAL]
    print(f"  {'':16}" + "".join(f"{n:>15}" for n in names) + "   chart: series without / worst tenth above")
    for kind, false, _ in cells:
        row = "".join(f"{f'{false[n][0]:.2f} ± {false[n][1]:.2f}':>15}" for n in names)
        print(f"  {kind:16}{row}   {false['chart'][2]:.2f} / {false['chart'][3]:.1f}{mark(0.5 <= false['chart'][0] <= 1.25)}")
    for kind, false, _ in cells:
        if "by itself" in false:
            mean, error = false["by itself"]
            print(f"  {kind}, chart, learned by itself: {mean:.2f} ± {error:.2f} (aim 0.5 to 1.25)" + mark(0.5 <= mean <= 1.25))
        if "chart normal" in false:
            mean, error = false["chart normal"][:2]
            print(f"  {kind}, chart normal: {mean:.2f} ± {error:.2f} (aim 0.5 to 1.25 for Gaussian series){mark(0.5 <= mean <= 1.25)}")


def print_told(cells):
    "What a person hears of"
    names = ["chart", *GIVEN, *EQUAL]
    print(f"\nFalse incidents in {EVERY} batches in control, as they are told")
    for kind, false, _ in cells: print(f"  {kind:16}" + "".join(f"{f'{n} {false[n][4]:.2f}':>18}" for n in names))


def print_seen(cells):
    "Second table"
    names = [*CHARTS, *EQUAL]
    print(f"\nDetection at one false alarm in {EVERY}: median delay in batches, share detected within 7, 14 and 30")
    print(f"  {'':16}" + "".join(f"{n:>26}" for n in names))
    for fault in (f for f in FAULTS if not f.startswith("spike")):
        got = next(seen for _, _, seen in cells if (fault, "chart") in seen)
        row = "".join(f"{'{:.0f}: {:.2f} {:.2f} {:.3f}'.format(*got[fault, n][:4]):>26}" for n in names)
        print(f"  {fault:16}{row}")
    got = next(seen for _, _, seen in cells if ("step 1 sd", "chart") in seen)
    for spike in (f for f in FAULTS if f.startswith("spike")):
        print(f"  {spike:16}" + "".join(f"{f'at once {got[spike, n][5]:.2f}':>26}" for n in names))
    for name, most in (("chart", 10), ("chart normal", 9)):
        median, within, runs = (got["step 1 sd", name][i] for i in (0, 3, 4))
        error = (within * (1 - within) / runs) ** 0.5
        print(f"  step 1 sd, {name}: within 30 {within:.3f} ± {error:.3f} (aim 0.97), median {median:.0f} (aim {most}), {runs} runs"
              + mark(within >= 0.97 and median <= most))


def print_speed(series=1000, n=400):
    "Third table"
    frames = [synth.series(n, seed=s)[0] for s in range(50)]
    fit_baseline(frames[0][:60], "brisque")
    fits, usual = [], []
    for frame in frames[1:]:
        start = time.perf_counter()
        usual.append(fit_baseline(frame[:60], "brisque"))
        fits.append(time.perf_counter() - start)
    judge_chart(frames[1], "brisque", baseline=usual[0])
    start, busy = time.perf_counter(), time.process_time()
    for i in range(series): judge_chart(frames[1 + i % 49], "brisque", baseline=usual[i % 49])
    took, busy = time.perf_counter() - start, time.process_time() - busy
    print("\nSpeed, one core")
    print(f"  judge_chart of {series:,} series of {n} batches, frozen baselines: {took:.1f} s, {busy:.1f} s of CPU (aim 10){mark(busy <= 10)}")
    middle = 1e3 * float(np.median(fits))
    print(f"  fit_baseline of one series: {middle:.0f} ms (aim 100){mark(middle <= 100)}")


def main(count, workers, seed):
    start = time.perf_counter()
    print(f"{count:,} series a cell, each with its own baseline of {BASELINE} batches; seed {seed}")
    order = sorted(KINDS, key=lambda k: k not in ("Gaussian", "50 pages"))  # The long ones first
    with ProcessPoolExecutor(workers) as pool: got = {c[0]: c for c in pool.map(cell, [(k, count, seed) for k in order])}
    cells = [got[k] for k in KINDS]
    print_false(cells)
    print_told(cells)
    print_seen(cells)
    print_speed()
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes with {workers} processes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    main(args.count, args.workers, args.seed)
