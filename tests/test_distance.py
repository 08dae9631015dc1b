"Distances: against scipy and counting by hand, their laws, their false alarms with ties and few images, what they can see"
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ocr_quality.judge.class_distance import chi_square, class_changes, class_psi, jensen_shannon, total_variation
from ocr_quality.judge.distance import Distance, _beyond, cramer_von_mises, energy, ks, psi, severity, wasserstein
from ocr_quality.judge.multiplicity import benjamini_hochberg, holm
from ocr_quality.judge.multivariate import energy_rows, mmd
from ocr_quality.judge.power import detectable_shift, detectable_variation, images_needed, too_few
from ocr_quality.judge.resample import ball, difference, interval, redraw, relabel

NUMBERS = (ks, cramer_von_mises, wasserstein, energy, psi)
SHARES = (total_variation, jensen_shannon, class_psi, chi_square)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=25)
spread = st.lists(st.integers(-10**6, 10**6).map(lambda v: v / 1000), min_size=2, max_size=25)
samples = st.one_of(tied, spread)
counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 40), min_size=1).filter(lambda c: sum(c.values()) > 0)


def value(of, a, b, **kw): return of(a, b, permutations=0, **kw).value


# numbers: values


@given(samples, samples)
@quick
def test_values_are_those_of_scipy(a, b):
    assert value(ks, a, b) == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)
    assert value(wasserstein, a, b) == pytest.approx(stats.wasserstein_distance(a, b))
    assert value(energy, a, b) == pytest.approx(stats.energy_distance(a, b), abs=1e-6)
    if min(len(a), len(b)) > 1 and len(set(a + b)) == len(a + b):
        assert value(cramer_von_mises, a, b) == pytest.approx(stats.cramervonmises_2samp(a, b, method="asymptotic").statistic, abs=1e-9)


@pytest.mark.parametrize("of, a, b, expected", [
    (ks, [1, 2, 3], [2, 3, 4], Fraction(1, 3)),
    (ks, [1, 1, 1, 2], [1, 2, 2], Fraction(3, 4) - Fraction(1, 3)),
    (ks, [0], [0, 0, 1], Fraction(1, 3)),
    (cramer_von_mises, [1], [2], Fraction(1, 4)),
    (cramer_von_mises, [1, 2], [2, 2], (Fraction(1, 2) ** 2 * (1 + 3)) / 2 * Fraction(4, 16)),
    (wasserstein, [0, 1, 3], [5, 6, 8], 5),  # The example in scipy's documentation
    (wasserstein, [0, 0, 3], [1, 1, 1], Fraction(1 + 1 + 2, 3)),
    (wasserstein, [0], [0, 0, 0, 1], Fraction(1, 4)),
    (energy, [0], [2], 2)])
def test_values_by_hand(of, a, b, expected): assert value(of, a, b) == pytest.approx(float(expected))


def test_stability_index_by_hand():
    "Bins up to 2, 4, 6, 8, 10 with two images each; the others have 4, 1, 0, 0, 5 there, an empty one counting half"
    shares, others = [2 / 10] * 5, [4 / 10, 1 / 10, .5 / 10, .5 / 10, 5 / 10]
    expected = sum((b - a) * np.log(b / a) for a, b in zip(shares, others, strict=True))
    assert value(psi, range(1, 11), [1, 1, 2, 2, 3, 9, 9, 10, 11, 99], bins=5) == pytest.approx(expected)


@given(samples, samples)
@quick
def test_laws_of_two_samples(a, b):
    for of in (ks, cramer_von_mises, wasserstein, energy):
        assert value(of, a, b) == pytest.approx(value(of, b, a), abs=1e-9)
        assert value(of, a, a) == pytest.approx(0, abs=1e-6)
        assert value(of, a, b) >= 0
        assert value(of, a[::-1], sorted(b)) == pytest.approx(value(of, a, b), abs=1e-9)
    assert value(psi, a, a) == 0 <= value(psi, a, b)
    for of in (ks, wasserstein, energy): assert value(of, a * 3, b * 2) == pytest.approx(value(of, a, b), abs=1e-9)
    if set(a) != set(b): assert min(value(of, a, b) for of in (ks, wasserstein, energy)) > 0


@given(samples, samples)
@quick
def test_ranks_alone_count(a, b):
    def bent(x): return (np.arctan(np.array(x)) * 3 - 7).tolist()
    def turned(x): return [-v for v in x]
    assume(len(set(bent(a + b))) == len(set(a + b)))
    for of in (ks, cramer_von_mises):
        assert value(of, bent(a), bent(b)) == pytest.approx(value(of, a, b))
        assert value(of, turned(a), turned(b)) == pytest.approx(value(of, a, b))
        assert of(bent(a), bent(b), 99).p == of(a, b, 99).p
    assert value(psi, bent(a), bent(b)) == pytest.approx(value(psi, a, b))


@given(samples, samples, samples, st.floats(0.01, 50), st.floats(-100, 100))
@quick
def test_laws_of_the_metric_unit(a, b, c, scale, shift):
    def moved(x): return (np.array(x) * scale + shift).tolist()
    assert value(wasserstein, moved(a), moved(b)) == pytest.approx(scale * value(wasserstein, a, b), abs=1e-6)
    assert value(energy, moved(a), moved(b)) == pytest.approx(np.sqrt(scale) * value(energy, a, b), abs=1e-4)
    assert value(wasserstein, a, c) <= value(wasserstein, a, b) + value(wasserstein, b, c) + 1e-9
    found = wasserstein(a, b, permutations=0)
    assert found.value >= abs(found.shift) - 1e-9 and found.shift == pytest.approx(np.mean(b) - np.mean(a))
    if np.std(a) > 0: assert found.in_sd == pytest.approx(found.value / np.std(a, ddof=1))


# numbers: p-values


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.lists(st.integers(0, 3), min_size=1, max_size=4))
@quick
def test_ks_p_is_that_of_all_labellings(a, b):
    both, seen = a + b, value(ks, a, b)
    of_all = [value(ks, [both[i] for i in range(len(both)) if i not in chosen], [both[i] for i in chosen])
              for chosen in combinations(range(len(both)), len(b))]
    assert ks(a, b, 0).p == pytest.approx(np.mean(np.array(of_all) >= seen - 1e-9))


@given(samples, samples)
@quick
def test_ks_p_is_scipys_without_ties_and_never_larger_with_them(a, b):
    known = stats.ks_2samp(a, b, method="exact")
    assume(abs(known.statistic) * len(a) * len(b) > 1.5)  # Below, scipy gives up its exact counting
    known = known.pvalue
    if len(set(a + b)) == len(a + b): assert ks(a, b, 0).p == pytest.approx(known)
    else: assert ks(a, b, 0).p <= known + 1e-9


def test_ks_p_of_two_classes_is_that_of_fisher():
    "Yes or no: the distance is the difference of shares, and with equal sizes both order the tables alike"
    for yes_a, yes_b in ((2, 9), (5, 6), (0, 4), (1, 14)):
        a, b = np.r_[np.ones(yes_a), np.zeros(15 - yes_a)], np.r_[np.ones(yes_b), np.zeros(15 - yes_b)]
        assert ks(a, b, 0).p == pytest.approx(stats.fisher_exact([[yes_a, 15 - yes_a], [yes_b, 15 - yes_b]]).pvalue)


def test_ks_without_counting_has_the_p_of_permutation():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=60).round(1), rng.normal(.4, 1, 40).round(1)
    assert ks(a, b, 0, exact=False).p is None and ks(a, b, 9999, exact=False).p == pytest.approx(ks(a, b).p, abs=.01)


def test_ks_p_keeps_its_digits_and_the_limit_is_on_the_safe_side(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300), rng.normal(1.2, 1, 200)
    exact = stats.ks_2samp(a, b, method="exact").pvalue
    assert ks(a, b, 0).p == pytest.approx(exact, rel=1e-9) and exact < 1e-20
    assert _beyond(np.ones(500, int), 200, 300, round(ks(a, b, 0).value * 60_000)) == pytest.approx(exact, rel=1e-9)
    monkeypatch.setattr("ocr_quality.judge.distance.EXACT", 0)
    for n, shift in ((50, .3), (200, .2), (1000, .1), (1000, 0)):
        a, b = rng.normal(size=1000), rng.normal(shift, 1, n)
        exact = stats.ks_2samp(a, b, method="exact").pvalue
        assert .999 * exact <= ks(a, b, 0).p <= 1.5 * exact  # In the tail above it; where p is one half, equal to four digits


@pytest.mark.parametrize("shift", [0, .4, .8])
def test_permuted_p_is_scipys(shift):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=20), rng.normal(shift, 1, 15)
    p = cramer_von_mises(a, b, 9999).p
    assert p == pytest.approx(stats.cramervonmises_2samp(a, b, method="exact").pvalue, abs=4 * np.sqrt(p / 9999) + 1e-4)
    def apart(x, y): return stats.wasserstein_distance(x, y)
    p = wasserstein(a, b, permutations=9999).p
    assert p == pytest.approx(stats.permutation_test((a, b), apart, n_resamples=999, alternative="greater", rng=rng).pvalue, abs=.05)


def draw(kind, rng, size):
    x = rng.normal(size=size)
    return {"normal": x, "tenths": x.round(1), "whole": x.round(), "rare": (x > 1.28).astype(float), "constant": np.zeros(size)}[kind]


@pytest.mark.parametrize("of", NUMBERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", ["normal", "tenths", "whole", "rare", "constant"])
@pytest.mark.parametrize("n, m", [(8, 20), (25, 60)])
def test_false_alarms_are_at_most_the_stated_ones(of, kind, n, m):
    rng, runs = np.random.default_rng(7), 600
    p = np.array([of(draw(kind, rng, m), draw(kind, rng, n), permutations=99).p for _ in range(runs)])
    for alpha in (.01, .05, .2): assert (p <= alpha).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)
    if kind in ("normal", "tenths"): assert (p <= .2).mean() >= .2 - (.06 if of is ks else .05)  # And not far below


@pytest.mark.parametrize("of", [ks, wasserstein, total_variation], ids=lambda f: f.__name__)
def test_labels_are_not_the_same_every_day(of):
    "A day's few labellings may be lucky or not; were they those of every day, so would be the rate"
    rng = np.random.default_rng(0)
    def day(): return rng.permutation(10).tolist()
    a, b = [1., 2., 3.] * 4, [1., 2.] * 3
    nulls = {of(*(np.array_split(np.array(a + b)[rng.permutation(18)], [12]) if of is not total_variation else
                  [list(map(str, x)) for x in np.array_split(np.array(a + b)[rng.permutation(18)], [12])]), 99).null_mean for _ in range(20)}
    assert len(nulls) > 5


def test_ks_sees_what_the_table_of_drift_md_says():
    rng = np.random.default_rng(5)
    for n, shift, power in ((20, 1, .89), (50, .5, .67), (200, .25, .55)):
        seen = np.mean([ks(rng.normal(size=1000), rng.normal(shift, 1, n), 0).p <= .01 for _ in range(120)])
        assert seen == pytest.approx(power, abs=.12)


@pytest.mark.parametrize("of", NUMBERS, ids=lambda f: f.__name__)
def test_every_distance_sees_a_shift_and_a_bad_third(of):
    rng = np.random.default_rng(2)
    for change in (lambda x: x + 1, lambda x: np.where(rng.random(len(x)) < .35, x + 3, x)):
        p = [of(rng.normal(size=200), change(rng.normal(size=60)), permutations=199).p for _ in range(20)]
        assert np.mean(np.array(p) <= .01) >= .9


# the null value and the interval


@pytest.mark.parametrize("n, mean", [(20, .27), (50, .17), (100, .13), (200, .09), (1000, .05)])
def test_total_variation_by_chance_is_that_of_drift_md(n, mean):
    rng = np.random.default_rng(1)
    found = [total_variation(*(rng.integers(10, size=k).tolist() for k in (1000, n))) for _ in range(20)]
    assert np.mean([f.null_mean for f in found]) == pytest.approx(mean, abs=.01) and all(f.null_q99 > f.null_mean for f in found)


@pytest.mark.parametrize("n, mean", [(50, .21), (100, .10), (200, .06), (1000, .02)])
def test_stability_index_by_chance_is_that_of_drift_md(n, mean):
    rng = np.random.default_rng(1)
    assert psi(rng.normal(size=1000), rng.normal(size=n)).null_mean == pytest.approx(mean, abs=.015)


def test_99_of_100_unchanged_samples_stay_within():
    rng = np.random.default_rng(4)
    for of in NUMBERS:
        found = [of(rng.normal(size=80).round(1), rng.normal(size=40).round(1), permutations=199) for _ in range(300)]
        beyond = np.mean([f.value > f.null_q99 for f in found])
        assert beyond <= .01 + 3 * np.sqrt(.01 / 300), of
        assert np.mean([f.value for f in found]) == pytest.approx(np.mean([f.null_mean for f in found]), rel=.12), of


SPREAD = np.linspace(-6, 8, 4001)


def truths(shift):
    "Distances between N(0, 1) and N(shift, 1)"
    gap, step = np.abs(stats.norm.cdf(SPREAD) - stats.norm.cdf(SPREAD - shift)), SPREAD[1] - SPREAD[0]
    return {ks: gap.max(), wasserstein: gap.sum() * step, energy: np.sqrt(2 * (gap**2).sum() * step)}


@pytest.mark.parametrize("of", [ks, wasserstein, energy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shift", [0, .3, 1])
def test_interval_covers_the_truth(of, shift):
    rng, truth, held, clear = np.random.default_rng(6), truths(shift)[of], [], []
    for _ in range(150):
        found = of(rng.normal(size=150), rng.normal(shift, 1, 100), permutations=0, resamples=199)
        held.append(found.low <= truth <= found.high)
        clear.append(found.low > 0)
    assert np.mean(held) >= .90
    assert np.mean(clear) <= .1 if shift == 0 else np.mean(clear) >= (.9 if shift == 1 else .2)


def test_interval_of_a_square_is_that_of_its_root():
    rng, held = np.random.default_rng(6), []
    size = 60 * 80 / 140  # T over this converges to the mean squared gap over the pool
    x = rng.normal(np.r_[np.zeros(80_000), np.ones(60_000)])
    truth = size * np.mean((stats.norm.cdf(x) - stats.norm.cdf(x - 1)) ** 2)
    for _ in range(100):
        found = cramer_von_mises(rng.normal(size=80), rng.normal(1, 1, 60), 0, 199)
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= .90
    assert ball(.04, np.array([.01]), power=2) == pytest.approx((.01, .09))


@pytest.mark.parametrize("shares", [[.5, .3, .2], [.45, .3, .25], [.3, .3, .4]])
def test_interval_of_classes_covers_the_truth(shares):
    rng, shares, first, held = np.random.default_rng(6), np.array(shares), np.array([.5, .3, .2]), []
    truth = {total_variation: np.abs(shares - first).sum() / 2, jensen_shannon: jensenshannon(first, shares, base=2)}
    for _ in range(150):
        a, b = dict(enumerate(rng.multinomial(500, first))), dict(enumerate(rng.multinomial(200, shares)))
        held.append([f.low <= t + 1e-12 <= f.high for f, t in ((of(a, b, 0, 199), t) for of, t in truth.items())])
    assert (np.mean(held, axis=0) >= .90).all()


def test_interval_of_boxes_goes_by_images():
    rng = np.random.default_rng(0)
    pages = [{"text": 10, "stamp": 20 * int(rng.random() < .3)} for _ in range(90)]
    by_page = total_variation(pages[30:], pages[:30], 0, 499)
    by_box = total_variation(*({k: sum(x[k] for x in s) for k in ("text", "stamp")} for s in (pages[30:], pages[:30])), 0, 499)
    assert by_page.high - by_page.value > 2 * (by_box.high - by_box.value)


def test_interval_of_a_difference_covers_the_truth():
    rng = np.random.default_rng(8)
    held = [low <= 1 <= high for _, low, high in (difference(rng.exponential(1, 80), rng.exponential(2, 60), resamples=199) for _ in range(200))]
    assert .88 <= np.mean(held) <= .99
    assert interval(1.0, np.full(10, 1.2)) == pytest.approx((.8, .8))


def test_redrawing_goes_in_blocks_and_sums_up():
    blocks = list(redraw(400, 3000))
    assert len(blocks) == 2 and sum(len(b) for b in blocks) == 3000 and all((b.sum(1) == 400).all() for b in blocks)
    labels = list(relabel(10, 2000, 999))
    assert len(labels) == 2 and all((x.sum(1) == 10).all() for x in labels)
    with pytest.raises(ValueError): labels[0][0, 0] = 1


# classes


@given(counts, counts)
@quick
def test_classes_against_scipy(a, b):
    names = sorted({k for c in (a, b) for k, v in c.items() if v})
    x, y = ([c.get(k, 0) for k in names] for c in (a, b))
    assert value(jensen_shannon, a, b) == pytest.approx(jensenshannon(x, y, base=2), abs=1e-7)
    assert value(total_variation, a, b) == pytest.approx(np.abs(np.array(x) / sum(x) - np.array(y) / sum(y)).sum() / 2)
    for g_test in (False, True):
        known = stats.chi2_contingency([x, y], correction=False, lambda_="log-likelihood" if g_test else "pearson")
        found = chi_square(a, b, g_test=g_test, permutations=99)
        assert found.value == pytest.approx(known.statistic, abs=1e-9)
        if known.expected_freq.min() >= 5 and len(names) > 2: assert found.p == pytest.approx(known.pvalue)


@given(counts, counts, counts)
@quick
def test_laws_of_classes(a, b, c):
    for of in (total_variation, jensen_shannon, chi_square):
        assert value(of, a, b) == pytest.approx(value(of, b, a), abs=1e-9)
        assert value(of, a, a) == pytest.approx(0, abs=1e-7)
        assert value(of, a | {"never": 0}, b) == pytest.approx(value(of, a, b))
    for of in (total_variation, jensen_shannon): assert value(of, a, c) <= value(of, a, b) + value(of, b, c) + 1e-7
    assert value(class_psi, a, b) == pytest.approx(value(class_psi, b, a)) and value(class_psi, a, a) == 0
    assert 0 <= value(jensen_shannon, a, b) ** 2 <= value(total_variation, a, b) + 1e-9 <= 1 + 2e-9


@given(counts, counts)
@quick
def test_merging_classes_of_one_kind_changes_nothing(a, b):
    "Each class split into two halves of equal shares is as far away as the whole"
    def split(c): return {k + h: v for k, v in c.items() for h in "12"}
    for of in (total_variation, jensen_shannon): assert value(of, split(a), split(b)) == pytest.approx(value(of, a, b), abs=1e-9)
    merged = [{"x": c.get("a", 0) + c.get("b", 0)} | {k: v for k, v in c.items() if k not in "ab"} for c in (a, b)]
    for of in (total_variation, jensen_shannon): assert value(of, *merged) <= value(of, a, b) + 1e-9


@given(counts, counts)
@quick
def test_counts_labels_and_rows_are_one(a, b):
    labels = [[k for k, v in c.items() for _ in range(v)] for c in (a, b)]
    rows = [[{k: 1} for k in x] for x in labels]
    for of in SHARES:
        assert value(of, *labels) == pytest.approx(value(of, a, b)) == pytest.approx(value(of, *rows))
    found = [total_variation(*x, permutations=99) for x in ((a, b), labels, rows)]
    assert found[0] == found[1] and found[2].n == found[0].n and found[2].p == pytest.approx(found[0].p, abs=.25)


@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 8), st.integers(1, 8))
@quick
def test_p_of_two_classes_is_that_of_all_labellings(w, x, y, z):
    first, second = ["a"] * w + ["b"] * x, ["a"] * y + ["b"] * z
    both, seen = first + second, value(total_variation, first, second)
    k, n = both.count("a"), len(second)
    chances = [(abs((k - i) / len(first) - i / n), stats.hypergeom.pmf(i, len(both), k, n)) for i in range(n + 1)]
    assert total_variation(first, second, 0).p == pytest.approx(min(1, sum(c for d, c in chances if c > 0 and d >= seen - 1e-9)))


@pytest.mark.parametrize("of", SHARES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shares", [[.5, .5], [.25] * 4, [.9, .05, .03, .02], [1.0]], ids=["two", "four", "rare", "one"])
@pytest.mark.parametrize("n, m", [(8, 20), (60, 150)])
def test_false_alarms_of_classes_are_at_most_the_stated_ones(of, shares, n, m):
    rng, runs = np.random.default_rng(9), 800
    p = np.array([of(*(dict(enumerate(rng.multinomial(k, shares).tolist())) for k in (m, n)), permutations=99).p for _ in range(runs)])
    for alpha in (.01, .05, .2): assert (p <= alpha).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


def test_false_alarms_of_boxes_are_those_of_images():
    "Pages of one kind or another with many boxes each: by images 5 in 100, by boxes most of them"
    rng, p, of_boxes = np.random.default_rng(1), [], []
    def pages(n): return [{"text": 10, "stamp": 20 * int(rng.random() < .2)} for _ in range(n)]
    for _ in range(200):
        a, b = pages(60), pages(30)
        p.append(total_variation(a, b, 99).p)
        of_boxes.append(total_variation(*({k: sum(x[k] for x in s) for k in ("text", "stamp")} for s in (a, b)), 0).p)
    assert (np.array(p) <= .05).mean() <= .05 + 3 * np.sqrt(.05 * .95 / 200)
    assert (np.array(of_boxes) <= .05).mean() > .3


def test_a_new_class_is_named_and_a_mixed_sample_is_read():
    found = total_variation({"a": 50, "b": 50}, ["a", {"b": 1}, None, "z", float("nan")], permutations=99)
    assert (found.new, found.n, found.missing) == (("z",), 3, 2)
    assert found.note.startswith("2 of 5 current images have no answer and are left out.") and found.note.endswith("Not in the reference: z.")
    many = total_variation({"a": 5}, {f"n{i:02d}": 1 for i in range(14)})
    assert len(many.new) == 14 and many.note.endswith("n09 and 4 more.")


def test_changes_of_classes_by_hand():
    rows = class_changes({"a": 6, "b": 2}, {"a": 2, "c": 2})
    assert [(r["class"], r["difference"], r["new"]) for r in rows] == [("c", .5, True), ("a", -.25, False), ("b", -.25, False)]
    assert rows[0]["p_value"] == pytest.approx(min(1, 3 * 2 * stats.hypergeom.pmf(2, 12, 2, 4)))
    assert sum(r["difference"] for r in rows) == pytest.approx(0) and class_changes({}, {"a": 1}) == []


def test_changes_of_classes_hold_together():
    rng = np.random.default_rng(2)
    def drawn(k): return dict(enumerate(rng.multinomial(k, [.3, .2, .2, .2, .1])))
    calm = [min(r["p_value"] for r in class_changes(drawn(300), drawn(80))) for _ in range(300)]
    assert (np.array(calm) <= .05).mean() <= .05 + 3 * np.sqrt(.05 * .95 / 300)
    rows = class_changes([{"text": 5, "stamp": i % 2} for i in range(60)], [{"text": 5, "stamp": 4} for _ in range(30)])
    assert {r["class"]: r["p_value"] <= .01 for r in rows} == {"text": True, "stamp": True}


@pytest.mark.parametrize("bad, error, words", [
    ({"a": -1}, ValueError, "counts from 0"), ({"a": float("nan")}, ValueError, "counts from 0"),
    ({"a": .5, "b": .5}, ValueError, "number of images"),
    ("invoice", TypeError, "in a list")])
def test_wrong_classes_are_refused(bad, error, words):
    with pytest.raises(error, match=words): total_variation({"a": 3}, bad)


# feature rows


def test_rows_of_one_feature_are_numbers_and_order_does_not_matter():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(120, 4)), rng.normal(.3, 1, (70, 4))
    for of in (energy_rows, mmd):
        assert of(a, b).value == pytest.approx(of(rng.permutation(a), b[::-1]).value, rel=.03)
        assert of(a, b).value == pytest.approx(of(b, a).value, rel=.03)
        assert of(a, b * [1, 1, 1, 1]).value == pytest.approx(of(a * [1, 9, .1, 1] + 5, b * [1, 9, .1, 1] + 5).value, abs=1e-6)
        assert of(a, a).value == pytest.approx(0, abs=1e-6) and of(a, a).p == 1
    same = energy_rows(np.r_[a, a[:50]], a[:50])
    assert same.p > .9


def test_mmd_is_that_of_the_kernel():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(150, 3)), rng.normal(.8, 1, (100, 3))
    from ocr_quality.judge.multivariate import median_distance, standardise
    x, y, _ = standardise(a, b)
    width = median_distance(np.concatenate([y, x]))
    def kernel(p, q): return np.exp(-((p[:, None] - q) ** 2).sum(2) / 2 / width**2).mean()
    exact = np.sqrt(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))
    assert mmd(a, b, waves=4000, permutations=0).value == pytest.approx(exact, rel=.05)


@pytest.mark.parametrize("of", [energy_rows, mmd], ids=lambda f: f.__name__)
def test_rows_false_alarms_and_power(of):
    "Five features that go together, one of them in few values; then one of five moves"
    rng, mix = np.random.default_rng(3), np.random.default_rng(0).normal(size=(5, 5))
    def rows(n):
        x = rng.normal(size=(n, 5)) @ mix
        x[:, 4] = x[:, 4].round()
        return x
    small = {} if of is energy_rows else {"waves": 60}
    p = np.array([of(rows(60), rows(30), permutations=99, **small).p for _ in range(200)])
    for alpha in (.01, .05, .2): assert (p <= alpha).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / len(p))
    moved = np.array([of(rows(120), rows(80) + [2.5, 0, 0, 0, 0], permutations=99).p for _ in range(20)])
    assert (moved <= .05).mean() >= .8


def test_rows_say_what_they_leave_out():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 3))
    a[0, 0], a[1, 1], a[:, 2] = np.nan, np.inf, 7
    b = np.c_[rng.normal(size=(20, 2)), np.full(20, 7.)]
    assert energy_rows(a, b).note.startswith("2 numbers are missing or infinite")
    assert mmd(a[:, 2:], b[:, 2:]) == Distance("mmd", 0.0, p=1.0, n=20, n_reference=30, note="No feature varies.")
    assert mmd(np.full((30, 2), np.nan), np.full((20, 2), np.nan)).p == 1
    assert mmd(a[:0], b).value is None and "reference sample is empty" in mmd(a[:0], b).note
    assert "too few" in energy_rows(a[:3], b[:3]).note
    with pytest.raises(ValueError, match="a row an image"): mmd(np.zeros((2, 2, 2)), b)


# samples that are empty, incomplete, constant


@pytest.mark.parametrize("of", NUMBERS, ids=lambda f: f.__name__)
def test_rubbish_is_counted_and_said(of):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(size=30)
    clean, found = of(a, b, permutations=199), of(np.r_[np.nan, a, np.inf], [*b, None, -np.inf, float("nan")], permutations=199)
    assert (found.value, found.p, found.n, found.n_reference) == (clean.value, clean.p, 30, 40)
    assert (found.missing, found.missing_reference) == (3, 2)
    assert found.note == "2 of 42 reference values are missing or infinite and left out. 3 of 33 current values are missing or infinite and left out."
    for empty in (of([], b), of(a, [np.nan]), of([], [])):
        assert (empty.value, empty.p, empty.null_q99) == (None, None, None) and "is empty, so there is no distance" in empty.note
    assert "reference and the current sample" in of([], []).note and "too few to tell" in of(a[:3], b[:3]).note
    constant = of(np.full(20, 5.), np.full(30, 5.), permutations=99, **({} if of is psi else {"resamples": 50}))
    assert (constant.value, constant.p, constant.null_mean, constant.low or 0, constant.high or 0) == (0, 1, 0, 0, 0)
    with pytest.raises(ValueError, match="one column"): of(np.zeros((4, 2)), b)


def test_a_single_value_each():
    assert (value(ks, [1], [2]), value(wasserstein, [1], [2]), wasserstein([1], [2]).in_sd) == (1, 1, None)
    assert all(0 < of([1], [2]).p <= 1 for of in NUMBERS)


def test_same_seed_same_result_and_another_one_another():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=40)
    for of in NUMBERS[:4]: assert of(a, b, resamples=50) == of(a, b, resamples=50) != of(a, b, resamples=50, seed=1)
    assert psi(a, b) == psi(a, b) != psi(a, b, seed=1)
    assert ks(rng.permutation(a), b[::-1]) == ks(a, b)


# multiplicity, severity, power


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@quick
def test_corrections_are_in_order_and_those_of_scipy(p):
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    for out in (holm(p), benjamini_hochberg(p)):
        assert (out >= np.array(p) - 1e-12).all() and (out <= 1).all() and (np.diff(out[np.argsort(p)]) >= 0).all()
    assert (benjamini_hochberg(p) <= holm(p) + 1e-12).all()
    assert holm([*p, np.nan])[:-1] == pytest.approx(holm(p)) and np.isnan(holm([*p, np.nan])[-1])


def test_holm_holds_together():
    rng = np.random.default_rng(0)
    flags = np.mean([holm(rng.random(20)).min() <= .05 for _ in range(2000)])
    assert flags <= .05 + 3 * np.sqrt(.05 * .95 / 2000)


@pytest.mark.parametrize("shift, level", [(0, "none"), (.0199, "none"), (.02, "low"), (-.0499, "low"), (.05, "medium"), (.0999, "medium"),
                                          (-.1, "high"), (None, "none"), (np.nan, "none")])
def test_severities_are_those_of_the_contract(shift, level): assert severity(shift) == level


@pytest.mark.parametrize("n", [30, 100, 400])
def test_detectable_shift_is_seen_four_times_in_five(n):
    rng, shift = np.random.default_rng(1), detectable_shift(n, 1000)
    seen = np.mean([ks(rng.normal(size=1000), rng.normal(shift, 1, n), 0).p <= .01 for _ in range(200)])
    assert seen == pytest.approx(.8, abs=.08)


@pytest.mark.parametrize("shares", [[.25] * 4, [.5, .3, .1, .1]])
def test_detectable_variation_is_seen_at_least_four_times_in_five(shares):
    rng, shares, apart = np.random.default_rng(1), np.array(shares), detectable_variation(4, 200, 1000)
    up = np.array([1, -1, 1, -1]) if shares[0] == .25 else np.array([1, -1, -1, -1])
    moved = shares * (1 + 2 * apart * up)
    assert moved.sum() == pytest.approx(1) and np.abs(moved - shares).sum() / 2 == pytest.approx(apart)
    def drawn(k, p): return dict(enumerate(rng.multinomial(k, p)))
    seen = np.mean([chi_square(drawn(1000, shares), drawn(200, moved), permutations=0).p <= .01 for _ in range(400)])
    assert .73 <= seen <= .9


def test_sizes_are_consistent():
    assert images_needed(detectable_shift(120, 800), 800) in (120, 121) and images_needed(.05, 500) is None
    assert too_few(4, 5) and not too_few(5, 5) and too_few(1, 100) and not too_few(1, 10**6)
    assert detectable_shift(2, 2) is None and detectable_shift(50, 1000) < detectable_shift(50, 100) < detectable_shift(20, 100)
    assert detectable_shift(50, 1000, alpha=.001) > detectable_shift(50, 1000) > detectable_shift(50, 1000, power=.5)
    for wrong in (lambda: detectable_shift(50, 50, power=.001), lambda: images_needed(0), lambda: too_few(1, 1, 0)):
        with pytest.raises(ValueError, match="expected"): wrong()
