"Profiles add up however they are cut; drift keeps its rate of false alarms, sees what is there, and says what it cannot know"
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_quality.core import ProfileError
from ocr_quality.judge.classic import DriftLimits, classic_checks
from ocr_quality.judge.data_or_model import data_or_model
from ocr_quality.judge.drift import detect_drift
from ocr_quality.judge.missing import missing_drift
from ocr_quality.judge.page_test import page_test
from ocr_quality.judge.profile import Profile, merge
from ocr_quality.judge.profile_file import profile_dict, read_profile

CLASSES = ["invoice", "letter", "form", "receipt"]


def frame(n, seed=0, *, soft=0.0, sure=0.0, mix=(0.4, 0.3, 0.2, 0.1), batches=None, batch_sd=0.0, ink=0.0):
    "Images of a source: sharpness and confidence that go together, classes, and batches that may differ"
    rng = np.random.default_rng(seed)
    batch = np.arange(n) * (batches or 1) // n
    day = batch_sd * rng.standard_normal(batches or 1)[batch]
    quality = rng.standard_normal(n) + day
    table = pd.DataFrame({
        "uri": [f"{seed}-{i}.jpg" for i in range(n)], "page": 1, "reason": None, "width": 1240, "height": 1754,
        "pixel_mean": 0.9 - ink + 0.02 * rng.standard_normal(n), "pixel_sd": 0.2 + 0.02 * rng.standard_normal(n),
        "brisque": 25 + 9 * soft - 3 * quality + 4 * rng.standard_normal(n), "sharpness": 6 - soft + 0.5 * quality, "contrast": 0.8 + 0.03 * quality,
        "noise": 2 + 0.3 * rng.standard_normal(n), "confidence": np.clip(0.85 - sure + 0.05 * quality, 0, 1),
        "predicted": rng.choice(CLASSES, n, p=mix)})
    return table.assign(batch=[f"day {b}" for b in batch]) if batches else table


def pixels(table):
    counts = np.zeros((3, 256), np.int64)
    levels = np.clip(np.round(255 * table["pixel_mean"]), 0, 255).astype(int)
    for channel in range(3): counts[channel] += 1000 * np.bincount(levels, minlength=256)
    return counts


def profile(n, seed=0, **kind):
    table = frame(n, seed, **kind)
    return Profile.of(table, pixels(table))


def test_the_same_images_in_other_places_give_the_same_report():
    known, now = frame(300, 1, batches=10, batch_sd=0.3), frame(60, 2, soft=0.3, mix=(0.3, 0.3, 0.3, 0.1), sure=0.01)
    now.loc[3, "sharpness"] = np.nan

    def told(place):
        a, b = (t.assign(uri=[f"{place}/{u}" for u in t["uri"]]) for t in (known, now))
        report = detect_drift(Profile.of(a, pixels(a)), Profile.of(b, pixels(b)))
        return json.dumps(report, ensure_ascii=False).replace(f"{place}/", "")
    assert told("/mnt/january") == told("s3://scans/in") == told("C:/users/ü")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 200), st.lists(st.integers(0, 199), max_size=6), st.integers(5, 300), st.randoms())
def test_profiles_add_up_however_they_are_cut(n, cuts, keep, order):
    table = frame(200, 3)[:n]
    table.loc[table.index % 17 == 3, "reason"] = "unreadable: damaged JPEG: byte 12"
    table.loc[table.index % 13 == 5, "sharpness"] = np.nan
    at = [0, *sorted(min(c, n) for c in cuts), n]
    parts = [Profile.of(table[a:b], pixels(table[a:b]), keep=keep) for a, b in zip(at, at[1:], strict=False)]
    order.shuffle(parts)
    whole, joined = Profile.of(table, pixels(table), keep=keep), merge(parts)
    assert joined.sample.equals(whole.sample) or len(joined.sample) == len(whole.sample) == 0
    for name in ("images", "readable", "reasons", "classes", "predictions", "statistics"): assert getattr(joined, name) == getattr(whole, name), name
    assert (joined.confidences == whole.confidences).all() and np.allclose(joined.calibration, whole.calibration)
    for name, m in whole.moments.items():
        assert (joined.moments[name].n, joined.moments[name].missing) == (m.n, m.missing)
        if m.n: assert np.allclose([joined.moments[name].mean, joined.moments[name].sd], [m.mean, m.sd], rtol=1e-9, atol=1e-12)


def test_a_profile_is_of_constant_size():
    sizes = [len(json.dumps(profile_dict(profile(n, keep := n)))) for n in (3000, 6000)]
    assert keep and abs(sizes[1] / sizes[0] - 1) < 0.05


def test_a_file_gives_the_same_report():
    known, now = profile(600), profile(150, 1, soft=1)
    again = read_profile(json.loads(json.dumps(profile_dict(known))))
    a, b = detect_drift(known, now), detect_drift(again, now)
    assert a["questions"]["inputs"]["p_value"] == b["questions"]["inputs"]["p_value"]
    assert a["drift_summary"] == b["drift_summary"] and a["headline"] == b["headline"]


@pytest.mark.parametrize("n", [50, 200])
def test_rate_of_false_alarms_is_kept(n):
    "At 5 % for a whole comparison, 80 comparisons have 4 on average; 10 or more are as rare as 1 in 170"
    limits = DriftLimits(alpha=0.05, shuffles=399)
    found = sum(detect_drift(profile(800, 2 * s), profile(n, 2 * s + 1), limits)["overall_drift_detected"] for s in range(80))
    assert found < 10


def test_batches_that_differ_are_no_drift():
    "Days differ by 0.4 sd: against images alone nearly every new day of 300 is drift, with the days as the yardstick hardly any"
    limits, alone, with_days = DriftLimits(shuffles=999), 0, 0
    for seed in range(12):
        known, new = frame(1200, seed, batches=30, batch_sd=0.4), frame(300, 100 + seed, batches=1, batch_sd=0.4)
        with_days += detect_drift(Profile.of(known), Profile.of(new), limits)["overall_drift_detected"]
        alone += detect_drift(Profile.of(known.drop(columns="batch")), Profile.of(new), limits)["overall_drift_detected"]
    assert alone >= 5 and with_days <= 1


@pytest.mark.parametrize(("kind", "summary", "least"), [
    ({"soft": 1.0}, {"input_drift": True}, "high"), ({"sure": 0.15}, {"confidence_drift": True}, "high"),
    ({"sure": -0.08}, {"input_drift": False}, "medium"),
    ({"mix": (0.1, 0.3, 0.2, 0.4)}, {"class_distribution_drift": True}, "high"), ({"ink": 0.15}, {"pixel_drift": True, "input_drift": True}, "low")])
def test_what_is_there_is_seen_and_told_apart(kind, summary, least):
    report = detect_drift(profile(1000), profile(200, 9, **kind))
    assert report["overall_drift_detected"] and report["severity"] == least
    assert {k: report["drift_summary"][k] for k in summary} == summary
    expected = {"soft": "inputs", "ink": "inputs", "sure": "confidence", "mix": "predictions"}[next(iter(kind))]
    assert [n for n, q in report["questions"].items() if q and q["drift_detected"]] == [expected]


def test_different_is_not_worse():
    "Another layout moves BRISQUE and the brightness of all pixels, and makes nothing hard to read"
    now = frame(300, 5, ink=0.2).assign(brisque=lambda t: t.brisque + 20)
    report = detect_drift(profile(1000), Profile.of(now, pixels(now)))
    assert report["overall_drift_detected"] and report["severity"] == "low" and report["harm"]["verdict"] == "not worse"
    assert "other print does that" in report["harm"]["sentence"]


def test_a_class_never_seen_is_named():
    now = frame(200, 4)
    now.loc[:30, "predicted"] = "passport"
    report = detect_drift(profile(1000), Profile.of(now))
    row = next(r for r in report["questions"]["predictions"]["classes"] if r["class"] == "passport")
    assert row["new"] and row["reference"] == 0 and report["class_distribution_drift"]["drift_detected"]
    assert "Never seen before: passport" in report["questions"]["predictions"]["sentence"]


def test_invalid_answers_are_counted_and_cost_no_one_else():
    now = frame(200, 6)
    now["prediction_reason"] = None
    now.loc[:9, ["predicted", "confidence", "prediction_reason"]] = [None, np.nan, "confidence is not a number"]
    report = detect_drift(profile(1000), Profile.of(now))
    assert report["counted"]["current"]["invalid_predictions"] == {"confidence is not a number": 10}
    assert report["counted"]["current"]["no_prediction"] == 10 and report["counted"]["current"]["predictions"] == 190
    assert json.dumps(report, allow_nan=False)


def test_other_metrics_on_both_sides_are_no_drift():
    now = frame(200, 7).drop(columns=["brisque", "contrast"])
    report = detect_drift(profile(1000), Profile.of(now.assign(unevenness=0.5)))
    assert not report["overall_drift_detected"]
    assert {f["name"] for f in report["questions"]["inputs"]["features"]} == {"pixel_mean", "pixel_sd", "megapixels", "aspect", "sharpness", "noise"}


@pytest.mark.parametrize("n", [1, 2, 19])
def test_too_few_is_a_result(n):
    report = detect_drift(profile(1000), profile(n, 8, soft=3, mix=(0, 0, 0, 1)))
    assert not report["overall_drift_detected"] and report["headline"] == "Too few images to tell"
    assert all(q["verdict"] == "too few" for q in report["questions"].values() if q)


def test_pixels_alone_can_be_compared():
    table = frame(300, 2)[["uri", "page", "pixel_mean", "pixel_sd"]]
    dark = table.assign(pixel_mean=table.pixel_mean - 0.3, uri="d" + table.uri)
    report = detect_drift(Profile.of(table, pixels(table)), Profile.of(dark, pixels(dark)))
    assert report["drift_summary"]["pixel_drift"] and report["questions"]["confidence"] is None and report["harm"]["verdict"] == "unknown"


def test_classic_numbers_are_the_plain_formulas():
    a, b = profile(300, 1), profile(300, 2, ink=0.07, sure=0.2, mix=(0.1, 0.4, 0.3, 0.2))
    got = classic_checks(a, b)
    p, q = (pd.Series(x.classes) / sum(x.classes.values()) for x in (a, b))
    assert np.isclose(got["class_distribution_drift"]["wasserstein_distance"], (p - q).abs().sum() / 2)
    assert np.isclose(got["pixel_distribution_drift"]["overall_mean_shift"],
                      abs(b.statistics["overall"]["mean"] - a.statistics["overall"]["mean"]))
    assert np.isclose(got["confidence_drift"]["mean_shift"], b.moments["confidence"].mean - a.moments["confidence"].mean)
    assert [got[k]["drift_detected"] for k in got] == [True, True, True]


@pytest.mark.parametrize("broken", [
    {}, [], None, 7, {"format": "other"}, {"format": "ocr_quality.profile", "version": 99}, {"input_distribution": {"pixel_statistics": 3}},
    {"format": "ocr_quality.profile", "version": 1}])
def test_a_baseline_that_is_none_is_refused_in_one_sentence(broken):
    with pytest.raises(ProfileError, match="expected"): read_profile(broken)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_baseline_is_refused_or_read(data):
    "Whatever one value of the file is replaced by, there is a profile or a ProfileError, nothing else"
    d = json.loads(json.dumps(profile_dict(profile(30))))
    at = d
    while isinstance(at, dict) and at:
        key = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[key], dict) or not at[key] or data.draw(st.booleans()):
            at[key] = data.draw(st.sampled_from([None, -1, "x", [], {}, [[1]], 1e999, True]))
            break
        at = at[key]
    try: read_profile(d)
    except ProfileError as e: assert str(e).startswith("expected")


def test_permuting_images_and_features_changes_nothing():
    a, b = frame(300, 1)[["sharpness", "noise", "brisque"]], frame(80, 2, soft=0.2)[["sharpness", "noise", "brisque"]]
    one, two = page_test(a, b), page_test(a[["brisque", "noise", "sharpness"]], b[["brisque", "noise", "sharpness"]].sample(frac=1, random_state=0))
    assert abs(one.p - two.p) < 0.03 and np.allclose(one.z[two.z.index], two.z)


@pytest.mark.parametrize("monotone", [np.exp, lambda x: -1 / x, lambda x: 5 * x + 3])
def test_the_unit_of_a_feature_does_not_matter(monotone):
    a, b = frame(300, 1)[["sharpness"]], frame(80, 2, soft=0.3)[["sharpness"]]
    assert page_test(a, b).p == page_test(monotone(a), monotone(b)).p


def test_data_and_model_are_told_apart():
    rng = np.random.default_rng(0)
    old, new = (pd.DataFrame({"old_model": rng.uniform(a, a + 0.2, 300)}) for a in (0.7, 0.6))
    parts = {p["part"]: p for p in data_or_model(old.assign(new_model=old.old_model), new.assign(new_model=new.old_model))["parts"]}
    assert parts["images"]["high"] < 0 and parts["model"]["change"] == 0 and abs(parts["interaction"]["change"]) < 1e-12
    assert np.isclose(sum(parts[k]["change"] for k in ("images", "model", "interaction")), parts["total"]["change"])


def answers_of(amounts, seed):
    return Profile.of(frame(len(amounts), seed).assign(predicted=amounts, confidence=0.9))


@pytest.mark.parametrize("some", [0.3, 0])
@pytest.mark.parametrize("kind", ["boxes", "areas"])
def test_a_model_that_finds_less_is_seen_though_the_shares_of_its_classes_stay(kind, some):
    def amount(rng, n, some): return rng.poisson(9 * some, n) if kind == "boxes" else rng.normal(0.3 * some, 0.02, n)
    rng = np.random.default_rng(1)
    known = answers_of([{"text": float(v)} for v in amount(rng, 300, 1)], 1)
    less = answers_of([{"text": float(v)} if some else {} for v in np.abs(amount(rng, 100, some))], 2)
    report, same = detect_drift(known, less), detect_drift(known, answers_of([{"text": float(v)} for v in amount(rng, 100, 1)], 3))
    told = report["questions"]["predictions"]
    assert told["drift_detected"] and told["severity"] == "high" and told["features"][0]["name"] == "found"
    assert not same["questions"]["predictions"]["drift_detected"]


def test_a_model_that_never_finds_anything_and_a_class_called_boxes():
    none = answers_of([{}] * 60, 1)
    assert detect_drift(none, none)["questions"]["predictions"]["verdict"] == "same"
    boxes = Profile.of(frame(60, 1).assign(predicted=[{"boxes": i % 3, "box_area": 1} for i in range(60)], boxes=[i % 3 + 1.0 for i in range(60)]))
    told = detect_drift(boxes, boxes)["questions"]["predictions"]
    assert told["verdict"] == "same" and {c["class"] for c in told["classes"]} == {"boxes", "box_area"}
    assert {c["p_value"] for c in told["classes"]} == {1.0}


@pytest.mark.parametrize("value", [0.5, 0.9, 0.7])
def test_a_reference_that_never_varies_is_a_yardstick_whatever_its_rounding(value):
    known, now = (Profile.of(frame(n, n).assign(confidence=c, box_area=c, boxes=1.0)) for n, c in ((500, value), (100, value - 0.3)))
    questions = detect_drift(known, now)["questions"]
    assert questions["confidence"]["severity"] == questions["predictions"]["severity"] == "high"


def test_confidences_that_are_mostly_absent_are_guarded_against_chance():
    def found(n, seed):
        rng = np.random.default_rng(seed)
        sure = np.where(rng.random(n) < 0.6, np.nan, rng.beta(2, 1.2, n))
        return Profile.of(frame(n, seed).assign(confidence=sure, predicted=[{"car": 1} if s == s else {} for s in sure]))
    reports = [detect_drift(found(300, 2 * s), found(30, 2 * s + 1), DriftLimits(shuffles=500)) for s in range(30)]
    assert all(r["questions"]["confidence"] is not None for r in reports) and sum(r["confidence_drift"]["drift_detected"] for r in reports) <= 1


@pytest.mark.parametrize(("m", "n"), [(500, 20), (400, 50)])
def test_images_that_are_nearly_all_alike_are_no_surer_than_chance(m, n):
    known, now = pd.DataFrame({"x": np.zeros(m)}), pd.DataFrame({"x": np.eye(n)[0]})
    assert page_test(known, now, ("x",)).p > 0.75 * n / (n + m)  # By lot the one image that differs is a current one so often


def test_columns_of_any_type_are_numbers_or_are_counted_as_missing():
    n = 50
    odd = frame(n, 1).assign(label="invoice", sharpness=["6.5"] * 49 + ["sharp"], contrast="high", width=pd.array([800] * 49 + [None], "Int64"),
                             confidence=pd.array([0.5] * 49 + [None], "Float64"), predicted=pd.array(["invoice"] * 49 + [None], "string"))
    made = Profile.of(odd)
    assert {k: made.moments[k].missing for k in ("sharpness", "contrast", "confidence", "megapixels")} == dict(
        sharpness=1, contrast=50, confidence=1, megapixels=1)
    assert (made.predictions, made.moments["sharpness"].mean) == (49, 6.5)
    assert read_profile(json.loads(json.dumps(profile_dict(made), allow_nan=False))).classes == {"invoice": 49}


@pytest.mark.parametrize("amount", [float("nan"), None, float("inf"), -1, "two"])
def test_amounts_that_are_none_are_no_part_of_a_profile(amount):
    made = Profile.of(frame(50, 1).assign(predicted=[{"car": 1, "bus": amount}] * 50))
    assert made.classes == {"car": 50} and json.dumps(profile_dict(made), allow_nan=False)


def test_reasons_stay_few_whatever_the_numbers_in_them():
    made = Profile.of(frame(500, 1).assign(prediction_reason=[f"confidence outside 0 to 1: {1.1 + i / 999:.4g}" for i in range(500)]))
    assert len(made.troubles) <= 2 and sum(made.troubles.values()) == 500


def test_one_image_without_a_batch_does_not_cost_the_yardstick():
    found = []
    for seed in range(10):
        known, now = frame(600, seed, batches=20, batch_sd=0.5), frame(150, 100 + seed, batches=1, batch_sd=0.5)
        known.loc[0, "batch"] = None
        found.append(detect_drift(Profile.of(known), Profile.of(now), DriftLimits(shuffles=500)))
    assert all(r["questions"]["inputs"]["batches"] == 20 for r in found) and sum(r["overall_drift_detected"] for r in found) <= 2


@pytest.mark.parametrize("n", [1, 2, 19])
def test_a_set_of_hardly_an_image_is_too_few_to_tell(n):
    known, now = (Profile.of(frame(k, k).drop(columns=["confidence", "predicted"])) for k in (100, n))
    report = detect_drift(known, now)
    assert report["headline"] == "Too few images to tell" and report["questions"]["inputs"]["verdict"] == "too few"


@pytest.mark.parametrize("where", ["overall", "classes"])
def test_an_earlier_baseline_with_a_number_that_is_none_is_refused(where):
    pixel, n = (float("nan"), 5) if where == "overall" else (0.5, float("inf"))
    old = {"dataset_info": {"image_count": 10}, "input_distribution": {"pixel_statistics": {"overall": {"mean": pixel, "std": 0.1}}},
           "predictions": {"prediction_count": 5, "class_distribution": {"a": n}}}
    with pytest.raises(ProfileError, match="not finite"): read_profile(old)


def test_what_is_missing_adds_at_most_half_the_rate_of_false_alarms():
    def made(rng, n):
        bad = rng.binomial(n, 0.1)
        silent = rng.binomial(n - bad, 0.1)
        return Profile(n, {"damaged": bad}, predictions=n - bad - silent, troubles={"NaN": silent})
    rng = np.random.default_rng(0)
    alarms = sum(missing_drift(made(rng, 1000), made(rng, 200), DriftLimits(alpha=0.01))["drift_detected"] for _ in range(2000))
    assert alarms <= 16  # 10 are expected at most
