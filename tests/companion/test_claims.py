import dataclasses

import numpy as np
import pytest

from vaept.companion import ledger as ledger_module
from vaept.companion.checks import Check, above, at_least, at_most, below, within
from vaept.companion.checks_training import cost_exponent, coupling_at, length_exponent
from vaept.companion.claims import CLAIMS
from vaept.companion.ledger import (
    MEMBERS,
    MOVED,
    SAME,
    UNDECIDED,
    Entry,
    answer,
    as_markdown,
    as_text,
    changes,
    ledger,
    outdated,
    rules,
    summary,
    verdicts_of,
)
from vaept.companion.markdown import shown
from vaept.companion.store import RunStore
from vaept.errors import InputError
from vaept.uses.measure import LACKING, MEASURES
from vaept.vae.agreement import Estimate, mean_over_members

VALUE = Estimate(0.5, 0.4, 0.6)


def entry(*held, kind="test"):
    """Checks that are held or not, or, where they are "undecided", held here and not elsewhere; "none": no value."""
    return Entry(CLAIMS[0], tuple(a_check(k, holds, kind) for k, holds in enumerate(held)))


def a_check(k, holds, kind="test"):
    threshold, elsewhere = at_least(0) if holds else at_least(1), (False,) * (holds == "undecided")
    value = Estimate(np.nan, np.nan, np.nan) if holds == "none" else VALUE
    return Check(f"number {k}", f"quantity {k}", "nats", value, threshold, "a control", kind, 2, elsewhere)


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        ((), "Not yet run."),
        ((True, True), f"2 of 2 tests hold. {CLAIMS[0].holds}"),
        ((True, False), "1 of 2 tests hold. Not: quantity 1 (d = 2)."),
        ((False, False), f"0 of 2 tests hold. {CLAIMS[0].fails}"),
        ((True, "undecided"), "1 of 2 tests hold. Not: quantity 1 (d = 2)."),
        (("undecided", "undecided"), f"0 of 2 tests hold. {CLAIMS[0].fails}"),
        ((True, "none"), "1 of 2 tests hold, 1 could not be measured. Not measurable: quantity 1 (d = 2)."),
        (
            (False, "none"),
            f"0 of 2 tests hold, 1 could not be measured. {CLAIMS[0].fails} Not measurable: quantity 1 (d = 2).",
        ),
        (
            (True, False, "none"),
            "1 of 3 tests hold, 1 could not be measured. Not: quantity 1 (d = 2). Not measurable: quantity 2 (d = 2).",
        ),
        (("none",), "0 of 1 tests hold, 1 could not be measured. Not measurable: quantity 0 (d = 2)."),
    ],
)
def test_verdicts(held, verdict):
    assert entry(*held).verdict == verdict


def test_only_tests_make_a_verdict():
    for kind in ("theorem", "sanity"):
        beside = dataclasses.replace(entry(True), checks=(a_check(0, True), a_check(1, False, kind)))
        assert beside.verdict == f"1 of 1 tests hold. {CLAIMS[0].holds}" and beside.count == "1 of 1 tests hold"
        assert beside.unsound.endswith(" that do not hold: quantity 1 (d = 2).") and "see C1, " in rules([beside])
        assert f"**{beside.verdict}** {beside.unsound}" in as_markdown([beside]) and beside.unsound in as_text([beside])
        assert entry(True, False, kind=kind).verdict == "Not yet run."


def test_a_failure_in_two_dimensions_is_named_once():
    checks = [dataclasses.replace(a_check(1, False), d=d) for d in (2, 4)]
    assert entry(True).verdict and Entry(CLAIMS[0], (a_check(0, True), *checks)).verdict == (
        "1 of 3 tests hold. Not: quantity 1 (d = 2, 4)."
    )


def test_the_ledger_has_every_claim_once_with_controls(entries):
    assert [each.claim.id for each in entries] == [f"C{i}" for i in range(1, 10)]
    for each in entries:
        assert each.tests and all(check.threshold and len(check.quantity.split()) <= 7 for check in each.checks)
        assert all(check.control for check in each.tests)
    assert {each.claim.id: each.verdict for each in entries}["C1"].endswith(f" tests hold. {CLAIMS[0].holds}")


def test_a_threshold_is_one_for_all_data_and_dimensions(entries):
    for each in entries:
        said = {}
        for check in each.checks:
            assert said.setdefault(check.key, str(check.threshold)) == str(check.threshold)


def by_key(records, claim, key, d):
    chosen = next(each for each in CLAIMS if each.id == claim)
    return next(check for check in chosen.checks(records, d) if check.key == key)


def test_a_claim_can_fail(records):
    assert by_key(records, "C4", "agreement", 2).holds
    arms = records.arms | {("corrected", 2): records.arms["warm", 2]}
    assert not by_key(dataclasses.replace(records, arms=arms), "C4", "agreement", 2).holds


def test_a_control_that_agrees_is_seen(records):
    arms = records.arms | {("cold", 2): records.arms["corrected", 2]}
    assert not by_key(dataclasses.replace(records, arms=arms), "C4", "without cold", 2).holds
    prices = [dataclasses.replace(each, coordinates=Estimate(0.9, 0.8, 0.95)) for each in records.prices]
    assert not by_key(dataclasses.replace(records, prices=prices), "C4", "without own deal", 2).holds


@pytest.mark.parametrize("seed", range(5))
def test_flips_and_swaps_are_no_degeneracy(records, seed):
    generator = np.random.default_rng(seed)
    arms = dict(records.arms)
    for d in (2, 4):
        plain, agreed = arms["cold", d], arms["corrected", d].mean
        copies = [member[:, generator.permutation(d)] * generator.choice([-1, 1], d) for member in agreed]
        arms["cold", d] = dataclasses.replace(plain, mean=np.stack(copies))
        found = by_key(dataclasses.replace(records, arms=arms), "C1", "permuted", d)
        assert not found.holds and found.value.mean > 0.95


def test_the_gain_is_measured_against_the_best_model_that_has_not_collapsed(records):
    found = by_key(records, "C4", "loss", 2)
    assert found.value.mean == pytest.approx(-1, abs=0.05) and found.value.low <= found.value.mean <= found.value.high
    better = dataclasses.replace(records.arms["warm", 2], minus_elbo=records.arms["corrected", 2].minus_elbo - 1)
    arms = records.arms | {("warm", 2): better}
    assert by_key(dataclasses.replace(records, arms=arms), "C4", "loss", 2).value.mean == pytest.approx(1)
    arms["warm", 2] = dataclasses.replace(better, active_units=np.ones(8))
    assert by_key(dataclasses.replace(records, arms=arms), "C4", "loss", 2).value.mean == pytest.approx(-1, abs=0.05)


def test_two_labs_are_judged_where_nothing_else_was_trained(records):
    assert by_key(records, "C4", "two labs", 8).holds and "cold 0.00" in by_key(records, "C4", "two labs", 8).control
    labs = [dataclasses.replace(each, between=Estimate(0.98, 0.9, 0.99)) for each in records.labs]
    assert not by_key(dataclasses.replace(records, labs=labs), "C4", "two labs", 8).holds


def test_what_was_not_run_is_said(records):
    bare = dataclasses.replace(records, prices=[], labs=[], lengths={}, interchange={})
    found = Entry(CLAIMS[8], tuple(CLAIMS[8].of(bare)), (), ("the exchange of parts",))
    assert found.verdict == "Not yet run." and "Not yet run with this profile: the exchange" in as_text([found])


def test_the_coupling_at_which_agreement_reaches_one_half_falls_with_the_length(records):
    for epochs, series in records.lengths.items():
        assert coupling_at(series).mean == pytest.approx(epochs**-0.5, rel=0.1)
    found = length_exponent(records.lengths)
    assert found.mean == pytest.approx(-0.5, abs=0.1) and found.low < found.mean < found.high < 0
    never = {10: records.lengths[10], 40: dataclasses.replace(records.lengths[40])}
    never[40] = dataclasses.replace(never[40], coordinates=[Estimate(0.1, 0.0, 0.2)] * len(never[40].values))
    assert np.isnan(length_exponent(never).mean)
    assert not by_key(dataclasses.replace(records, lengths=never), "C4", "longer", 4).holds


def test_cost_exponent_finds_the_power(records):
    exponent, used = cost_exponent(records.couplings)
    assert exponent.mean == pytest.approx(2, abs=0.1) and exponent.low <= exponent.mean <= exponent.high
    assert not used[0] and used[2:].all()
    series = records.couplings
    losses = series.minus_elbo.copy()
    losses[3] = losses[0] - 1  # no cost in the middle: what lies below does not belong to the same power
    assert cost_exponent(dataclasses.replace(series, minus_elbo=losses))[1].tolist() == [False] * 4 + [True]
    free = dataclasses.replace(series, minus_elbo=series.minus_elbo[::-1])
    exponent, used = cost_exponent(free)
    assert np.isnan(exponent.mean) and used.sum() < 3


def test_mean_over_members_covers_the_mean():
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        found = mean_over_members(generator.standard_normal(20) + 3, n_bootstrap=200)
        covered += found.low <= 3 <= found.high
    assert 170 <= covered <= 198
    assert np.isnan(mean_over_members([1.0, 2.0]).low)


def test_a_ledger_beside_itself_has_not_moved(entries):
    assert {change.verdict for change in changes(entries, entries)} == {SAME}


def test_changes_are_seen():
    published = [entry(True, True)]
    inside = dataclasses.replace(published[0].checks[0], value=Estimate(0.55, 0.5, 0.6))
    outside = dataclasses.replace(published[0].checks[1], value=Estimate(0.65, 0.6, 0.7))
    fresh = [Entry(CLAIMS[0], (inside, outside))]
    assert [change.verdict for change in changes(fresh, published)] == [MEMBERS, MOVED]
    assert [change.verdict for change in changes([entry(True)], published)] == [SAME, MOVED]
    assert [change.verdict for change in changes(published, [entry(True)])] == [SAME, MOVED]
    turned = [Entry(CLAIMS[0], tuple(reversed(fresh[0].checks)))]
    found = {change.id: change.verdict for change in changes(turned, published)}
    assert found == {"C1 number 0, d = 2": MEMBERS, "C1 number 1, d = 2": MOVED}
    alone = dataclasses.replace(inside, value=Estimate(-2.0, np.nan, np.nan))
    for mean, verdict in ((-2.019, MEMBERS), (-1.981, MEMBERS), (-2.021, MOVED), (-1.979, MOVED)):
        other = dataclasses.replace(alone, value=Estimate(mean, np.nan, np.nan))
        (change,) = changes([Entry(CLAIMS[0], (other,))], [Entry(CLAIMS[0], (alone,))])
        assert change.verdict == verdict
    nothing = dataclasses.replace(inside, value=Estimate(np.nan, np.nan, np.nan))
    assert changes([Entry(CLAIMS[0], (nothing,))], [entry(True)])[0].moved


def test_the_ledger_as_text_and_as_a_page(entries):
    page, text = as_markdown(entries), as_text(entries)
    for each in entries:
        assert f"## {each.claim.id}: {each.claim.statement}" in page and each.claim.statement in text
        assert f"**{each.verdict}**" in page and each.verdict in text
        for check in each.checks:
            assert check.quantity in page and f"{shown(check.value)} {answer(check)}" in page
            assert shown(check.value) in text
    beside = summary({"here": verdicts_of(entries), "there": {}})
    assert beside.count("Not yet run.") == 9 and all(
        each.verdict.partition(" Not: ")[0] in beside and (" Not: " not in each.verdict or each.verdict not in beside)
        for each in entries
    )
    tests = [check for each in entries for check in each.tests]
    assert f"Of {len(tests)} tests here" in rules(entries) and "2.5% of cases" in rules(entries)


def test_few_members_are_said_to_make_intervals_narrow():
    def told(members):
        return rules([dataclasses.replace(entry(*[True] * 16, "none"), members=members)])

    assert "Of 17 tests here 16 ask on which side of 0" in told(0) and "2.5% of cases, 0.4 in all" in told(0)
    assert "a mean over 3 members, the fewest here, are narrower: all" in told(3) and "in 1 of 8 cases" in told(3)
    assert "such means, 2.0 would hold by chance." in told(3)
    assert "over 10 members, the fewest here, are narrower. Of the other" in told(10) and "fewest" not in told(0)


def test_outcomes_tell_what_misses_from_what_is_undecided():
    assert entry(True, False, "undecided", "none").outcomes == {
        "number 0": {2: "yes"},
        "number 1": {2: "contrary"},
        "number 2": {2: "no"},
        "number 3": {2: "none"},
    }
    across = dataclasses.replace(a_check(0, True), threshold=at_least(0.5), d=4)
    found = dataclasses.replace(entry(True), checks=(a_check(0, True), across)).outcomes
    assert found == {"number 0": {2: "yes", 4: "no"}}


def test_checks_of_a_study_are_kept_until_its_records_change(records, tmp_path):
    kept = dataclasses.replace(records, store=RunStore(tmp_path))
    claims = [claim for claim in CLAIMS if claim.id in ("C2", "C6", "C9")]
    expected = [claim.of(records) for claim in claims]
    assert [claim.of(kept) for claim in claims] == expected
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checks.json")}
    assert len(made) == len(claims) and [claim.of(kept) for claim in claims] == expected
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checks.json")}
    arm = records.arms["cold", 2]
    moved = dataclasses.replace(arm, mean=arm.mean * [1, 2])
    other = dataclasses.replace(kept, arms=records.arms | {("cold", 2): moved})
    assert other.checksum != kept.checksum
    assert claims[0].of(other) == claims[0].of(dataclasses.replace(other, store=None))
    assert len([*tmp_path.rglob("checks.json")]) == len(claims) + 1


def test_uses_are_judged_and_can_fail(records):
    verdicts = {claim.id: Entry(claim, tuple(claim.of(records))).verdict for claim in CLAIMS[5:]}
    assert all(verdicts[claim.id].endswith(f" tests hold. {claim.holds}") for claim in CLAIMS[5:])
    arms = records.arms | {("corrected", d): dataclasses.replace(records.arms["cold", d], uses={}) for d in (2, 4)}
    nothing = dataclasses.replace(records, arms=arms, interchange={})
    assert all(claim.of(nothing) == [] for claim in CLAIMS[5:])
    arms = records.arms | {("corrected", d): records.arms["cold", d] for d in (2, 4)}
    exchange = dict.fromkeys(("cold", "corrected"), records.interchange["cold"])
    plain = dataclasses.replace(records, arms=arms, interchange=exchange)
    held = [check.holds for claim in CLAIMS[5:] for check in claim.of(plain) if "minus plain" in check.quantity]
    assert len(held) == 8 and not any(held)
    assert not any(check.holds for check in CLAIMS[8].of(plain))


def test_unlabelled_data_have_no_checks_by_class(records, monkeypatch):
    monkeypatch.setattr(ledger_module, "CLAIMS", CLAIMS[5:8])
    reason = "The data have no classes."
    object.__setattr__(
        records, "left_out", dict.fromkeys(("classifier", "clustering", "generation", "modes", "mixture"), reason)
    )
    for record in records.arms.values():
        for name in ("clustering", "generation", "modes", "mixture"):
            record.uses.pop(name, None)
    words = [check.quantity for claim in CLAIMS[5:8] for check in claim.of(records)]
    assert words and not any("Rand" in each or "sure" in each or "Fréchet" in each for each in words)
    entries = ledger(records)
    assert [len(entry.left_out) for entry in entries] == [2, 1, 3]
    assert all(
        f"Not measured for these data: clustering. {reason}" in words(entries) for words in (as_text, as_markdown)
    )


def test_a_claim_of_which_nothing_can_be_measured_says_so(records, monkeypatch):
    monkeypatch.setattr(ledger_module, "CLAIMS", CLAIMS[5:])
    for record in records.arms.values():
        for name in ("clustering", "outliers", "modes"):
            record.uses.pop(name, None)
    object.__setattr__(records, "left_out", {"clustering": "No classes.", "modes": "None.", "outliers": "Too few."})
    (entry,) = (entry for entry in ledger(records) if entry.claim.id == "C6")
    assert (
        entry.checks == ()
        and entry.verdict == "Not measured for these data."
        and "outliers. Too few." in as_text([entry])
    )


def test_data_that_are_no_pictures_have_no_filters(records):
    object.__setattr__(records, "left_out", {"filters": "They are no pictures."})
    words = [check.quantity for check in CLAIMS[7].of(records)]
    assert any("denoising" in each for each in words) and not any("wavelets" in each for each in words)


def test_members_without_a_number_are_left_out():
    assert mean_over_members([1.0, np.nan, 3, 2]).mean == 2
    assert np.isnan(mean_over_members([np.nan]).mean)
    for wrong in ([], ["a"], [[1.0]], [1j], None):
        with pytest.raises(InputError, match=r"^values must "):
            mean_over_members(wrong)
    for name, wrong in (("seed", -1), ("n_bootstrap", 10**9)):
        with pytest.raises(InputError, match=rf"^{name} must be"):
            mean_over_members([1.0, 2.0, 3.0], **{name: wrong})


def test_controls_and_thresholds_have_minus_signs_and_keep_their_hyphens():
    check = Check("", "", "", VALUE, at_most(-2.5), "k-means: -0.10, -3")
    assert check.control == "k-means: −0.10, −3" and str(check.threshold) == "≤ −2.5"


def test_undecided_is_shown_and_explained():
    unclear, clear = [entry(True, "undecided", False)], [entry(True, False)]
    assert unclear[0].count == "1 of 3 tests hold, 1 undecided" and clear[0].count == "1 of 2 tests hold"
    assert [answer(check) for check in unclear[0].checks] == ["✓", "undecided (1 of 2)", "✗"]
    page, text = as_markdown(unclear), as_text(unclear)
    assert " undecided (1 of 2) |" in page and "undecided (1 of 2)  quantity 1" in text
    assert UNDECIDED in page and UNDECIDED in text
    assert "ndecided" not in as_markdown(clear) + as_text(clear)


def test_records_without_a_number_are_refused(records, monkeypatch):
    monkeypatch.setattr(ledger_module, "CLAIMS", [claim for claim in CLAIMS if claim.id == "C6"])
    del records.arms["cold", 4].uses["clustering"]
    with pytest.raises(InputError, match="profile test lack 'clustering', which C6 needs"):
        ledger(records)


def test_code_that_has_changed_is_named_with_its_claims(records):
    def said(made_by, today):
        return outdated(dataclasses.replace(records, provenance={"code": made_by}), today)

    today = {"training": "a", "fields": "b", "evaluation": "c", "clustering": "d", "paths": "e"}
    assert said(today, today) == ""
    changed = said(today | {"clustering": "old", "paths": "old"}, today)
    assert changed == (
        "made by an earlier version of: clustering, paths; the run must be made again to vouch for C6, C7, C8."
    )
    assert "of: training; " in said(today | {"training": "old"}, today)
    assert "C1, C2, C3, C4, C5, C6, C7, C8, C9." in said(today | {"training": "old"}, today)
    assert "of: fields; " in said({key: value for key, value in today.items() if key != "fields"}, today)
    assert "made before code was recorded" in outdated(records, today)


def test_claims_name_parts_that_exist():
    named = {part for claim in CLAIMS for part in claim.parts}
    parts = {"training", "fields", "evaluation", "comparisons", "interchange", "baselines", *MEASURES, *LACKING}
    assert named == parts and all(claim.parts for claim in CLAIMS)


@pytest.mark.parametrize(
    ("threshold", "words", "met"),
    [
        (at_least(0.4), "≥ 0.4", True),
        (at_least(0.41), "≥ 0.41", False),
        (at_most(0.6), "≤ 0.6", True),
        (at_most(0.59), "≤ 0.59", False),
        (below(0.6), "< 0.6", False),
        (below(0.61), "< 0.61", True),
        (within(0.11, 0.5), "within 0.11 of 0.5", True),
        (within(0.1, 0.45), "within 0.1 of 0.45", False),
        (within(0.1, -1), "within 0.1 of −1", False),
        (above(0), "> 0", True),
        (above(0.4), "> 0.4", False),
    ],
)
def test_a_threshold_asks_for_the_whole_interval_and_writes_its_own_words(threshold, words, met):
    check = Check("", "", "", VALUE, threshold, "")
    assert str(threshold) == words and check.met is met
    for value in (Estimate(np.nan, np.nan, np.nan), Estimate(0.5, np.nan, np.nan)):
        assert not dataclasses.replace(check, value=value).met
