"""Sentences of chapters 6 and 7, for outcomes of every side."""

from types import SimpleNamespace

import numpy as np

from vaept.companion import tables
from vaept.companion.records import published
from vaept.companion.wording import uses as told
from vaept.vae.agreement import Estimate

ABOVE, BELOW, UNCLEAR, NONE = (
    Estimate(*ends) for ends in ((1.0, 0.5, 1.5), (-1.0, -1.5, -0.5), (0.0, -0.5, 0.5), (np.nan,) * 3)
)


def test_what_is_carried_over_is_told_in_numbers():
    values = {"classifier": {2: Estimate(-0.04, -0.06, 0.004), 4: ABOVE}, "probes": {}}
    lost = told.losses(values)
    own = "of a nearest-neighbour classifier's accuracy, none clear at d = 2, −1.00 at d = 4."
    assert lost == f"Loss on another's latents: {own}"
    few = {"classifier": {2: Estimate(-0.04, -0.06, -0.02)}, "probes": {2: Estimate(-0.003, -0.004, -0.002)}}
    words = told.losses(few, intervals=True)
    assert "0.04 [0.02, 0.06] at d = 2" in words and words.endswith("of the R² of probes, less than 0.01 at d = 2.")
    assert told.losses({}) == ""
    carried = told.carried_over({"nats": {2: "yes"}}, lost)
    assert "can be exchanged" in carried and carried.endswith(lost)
    helps = {"denoising": {2: "yes"}, "clustering": {2: "contrary"}, "draws over plain": {2: "yes"}}
    assert told.helped(helps, 20) == (
        "After 20 epochs beside plain models the correction helps with denoising and generating (by Fréchet distance). "
        "Beside plain models the correction does harm to grouping."
    )
    others = {"cells": {"nats": {2: "no", 8: "yes"}, "probes": {2: "none"}}, "other": {}}
    found = {"nats": {2: "yes", 4: "yes"}, "classifier": {2: "yes", 4: "contrary"}, "probes": {2: "none"}}
    own = "3 of 4 here (not the nearest-neighbour classifier (d = 4)), 1 of 2 published (cells)."
    assert told.tests_of_exchanges(found, others) == f"Of the tests of exchanges these hold: {own}"
    assert told.tests_of_exchanges({}, others).endswith("these hold: 1 of 2 published (cells).")
    assert told.tests_of_exchanges({"nats": {2: "none"}}, {}) == ""
    own = SimpleNamespace(
        nats=np.array([[1.0, 3.0], [5.0, 1.0]]),
        above_own=np.array([[0.0, 2.0], [4.0, 0.0]]),
        nats_by_chance=np.full(2, 5),
    )
    assert "it is 75% at d = 2 of what" in told.beside_chance({2: own}) and told.beside_chance({}) == ""
    assert "above a tenth" in told.exchanged({"nats": {2: "contrary"}}, {2: Estimate(0.2, 0.1, 0.3)})


def test_turning_afterwards_is_told_beside_the_correction():
    costs = {2: ("warm", 0.15, 0.01), 4: ("cold", 0.14, 0.21)}
    for more, words in ((ABOVE, "more"), (BELOW, "less"), (UNCLEAR, "not clearly more or less")):
        own = told.turned({2: more, 4: BELOW}, costs)
        assert f"for 0.15 nats at d = 2 (warm start; {words} than corrected ones, 0.01) and 0.14 nats at d = 4" in own
    assert own.endswith("(cold start; less than corrected ones, 0.21).")
    assert told.turned({2: NONE}, {2: ("cold", np.nan, np.nan)}) == told.turned({}, {}) == ""
    worth = told.worth_it({2: "yes", 4: "yes", 8: "no", 16: "none"}, {2: ABOVE, 4: BELOW, 8: UNCLEAR, 16: NONE})
    assert "is worth it at d = 2" in worth and "turn finished ones at d = 4" in worth and "d = 16" not in worth
    assert "does not clearly make an exchange cheap at d = 8; turning is not clearly cheaper" in worth


def test_variety_and_the_field_itself_are_told():
    text = told.varied(
        {"corrected": {2: BELOW, 4: ABOVE}, "plain": {2: UNCLEAR, 4: BELOW}, "arms": {2: ABOVE, 4: ABOVE}}
    )
    assert "it is lower at d = 4 for plain models and higher at d = 4 and lower at d = 2 for corrected models." in text
    assert text.endswith("it is higher for corrected models than for plain ones. Other differences are unclear.")
    assert "no difference" in told.varied({key: {2: UNCLEAR} for key in ("corrected", "plain", "arms")})
    assert "unclear" not in told.varied({key: {2: ABOVE} for key in ("corrected", "plain", "arms")})
    assert told.varied({"corrected": {}, "plain": {}, "arms": {}}) == ""
    assert "may be what the field knew" in told.grouped_by_field({2: 0.8}, {2: BELOW})
    assert "do better" in told.grouped_by_field({2: 0.8}, {2: ABOVE})
    text = told.spectral({2: "contrary"}, {}, {2: ABOVE})
    assert "slow modes do worse than k-means" in text and "none of them clearly beats" in text
    assert "none of them" not in told.spectral({2: "yes"}, {}, {}) and "none of them" not in told.spectral({}, {}, {})


def test_what_is_paid_and_what_is_passed_is_told():
    assert told.paid({"a": {2: BELOW, 4: UNCLEAR}, "b": {2: ABOVE}}) == (
        "What it costs on a model's own latents: a falls by 1.00 at d = 2."
    )
    assert told.paid({"a": {2: UNCLEAR}, "b": {2: ABOVE}}).endswith("a and b do not clearly fall.")
    assert told.paid({"a": {2: NONE}, "b": {}}) == ""
    found = {"denoising": {2: "yes"}, "clustering": {2: "no"}, "likelihood": {2: "contrary", 4: "none"}}
    beside = "Beside plain models corrected ones do better in denoising; not clearly better in grouping; worse in log"
    assert told.tested(found).startswith(beside)
    for outcome, words in (("yes", "beat"), ("no", "do not clearly beat"), ("contrary", "do worse than")):
        draws = told.tested({"draws over prior": {2: outcome}})
        assert draws == f"Draws from the aggregate posterior {words} the prior's."
    assert told.tested({}) == ""


def test_other_methods_are_told_by_side():
    found = {"a": {2: "above", 4: "above"}, "b": {2: "below", 4: "unclear"}, "c": {}}
    assert told.beside_others("These", found) == (
        "These do better than a; worse at d = 2 than b; not clearly better or worse at d = 4 than b."
    )
    assert told.beside_others("These", {"c": {}}) == ""


def test_outliers_are_told_kind_by_kind_and_beside_chance():
    outcomes = {2: "contrary", 4: "contrary", 8: "yes"}
    values = {2: Estimate(0.2, 0.1, 0.3), 4: Estimate(0.05, 0.0, 0.1), 8: Estimate(0.8, 0.7, 0.9)}
    found = told.found_by_energy(outcomes, values, 0.05)
    assert found == {2: "few", 4: "chance", 8: "yes"}
    assert "few of them, 0.20" in told.energies_find(found, values)
    kinds = {"overlaid": {2: BELOW, 4: UNCLEAR}, "halves": {2: UNCLEAR, 4: UNCLEAR}, "scrambled": {2: ABOVE, 4: ABOVE}}
    most = {kind: {2: 0.0 if kind == "halves" else 1.0, 4: 1.0} for kind in kinds}
    assert told.kinds_found(kinds, most) == (
        "−ELBO finds more of the scrambled ones; the energy finds more of the overlaid ones (d = 2); "
        "neither clearly finds more of the overlaid ones (d = 4) and the halves (d = 4); "
        "neither finds a single one of the halves (d = 2)."
    )
    assert told.kinds_found({"halves": {}}, {}) == ""
    assert told.rebuilt(kinds, {2: ABOVE, 4: ABOVE}).endswith(
        "than the energy, thanks to the scrambled ones, but fewer of the overlaid ones."
    )
    assert "finds less" in told.rebuilt(kinds, {2: BELOW, 4: BELOW})


def test_what_grows_or_falls_with_d_is_told():
    small, large = Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6)
    assert told.with_d({"denoising": {2: large, 4: small}, "draws over plain": {2: small, 4: large}}) == (
        "From d = 2 to 4 the gain in PSNR falls from 0.5 to 0.2 and that in Fréchet distance falls from −0.2 to −0.5."
    )
    assert told.with_d({"denoising": {2: small, 4: large}}).endswith("the gain in PSNR grows from 0.2 to 0.5.")
    assert told.with_d({"denoising": {2: small, 4: small}}) == told.with_d({"denoising": {2: small}}) == ""
    assert told.with_field({2: "below", 4: "above"}, {2: "yes", 4: "yes"}).endswith("groups better still at d = 2.")
    assert told.with_field({2: "below"}, {2: "no"}) == ""


def test_costs_and_gains_of_fields_are_told_by_sign():
    found = {2: (-15.1, -2.6), 4: (-1.0, 2.0), 8: (6.3, 14.1)}
    assert told.costs_of_fields(found) == (
        "In the published study fields, beside plain models, gain 2.6 to 15.1 nats at d = 2, do anything between a "
        "gain of 1.0 and a cost of 2.0 nats at d = 4 and cost 6.3 to 14.1 nats at d = 8."
    )
    assert told.costs_of_fields({}) == ""


def test_gains_are_counted():
    pairs = [(ABOVE, ABOVE), (ABOVE, None), (BELOW, ABOVE), (UNCLEAR, NONE), (NONE, ABOVE)]
    assert told.counted(pairs) == (
        "gains in 2 of 4 numbers, losses in 1, 1 unclear; "
        "gains beside the warm start too in 1 of the 2 that were measured there."
    )


def test_an_interval_wholly_behind_its_threshold_is_contrary(records):
    for claim in ("C6", "C7", "C8", "C9"):
        answers, outcomes, values = (f(records, claim) for f in (tables.answers, tables.outcomes, tables.measured))
        for key, own in outcomes.items():
            for d, outcome in own.items():
                assert answers[key][d] == ("no" if outcome == "contrary" else outcome)
                if outcome == "contrary":
                    assert np.isfinite([values[key][d].low, values[key][d].high]).all()


def test_what_beats_corrected_members_is_bold():
    table = tables.baselines(published("digits"))
    rows = {
        tuple(cells[:2]): cells[2:]
        for line in table.splitlines()[2:]
        if len(cells := line.strip("| ").split(" | ")) > 2
    }
    assert rows["d = 2", "nearest training image"][0].startswith("**")
    assert rows["d = 2", "k-means on bare pixels"][-2].startswith("**")
    assert not any("**" in cell for cell in rows["d = 2", "corrected members"]) and "Bold:" in table


def test_tests_against_strong_rivals_are_counted_apart():
    found = {"pixels": {2: "contrary", 4: "yes"}, "mixture": {2: "none", 4: "no"}, "wavelets": {2: "yes", 4: "yes"}}
    told_of = told.against_rivals(found)
    assert "on the latents 1 of 3 hold; of those against plain models" in told_of and told_of.endswith("prior 2 of 2.")
    assert told.against_rivals({"wavelets": {2: "yes"}}) == ""


def test_turned_models_that_would_pass_the_test_of_an_exchange_are_named():
    assert told.also_turned({2: 0.025, 4: 0.2}).endswith("on average (0.03 at d = 2).")
    assert told.also_turned({2: 0.5}) == ""
