"""Sentences of chapter 7, for outcomes of every side."""

import numpy as np
import pytest

from vaept.companion import tables
from vaept.companion import wording_of_uses as told
from vaept.companion.records import published
from vaept.vae.agreement import Estimate

ABOVE, BELOW, UNCLEAR, NONE = (
    Estimate(*ends) for ends in ((1.0, 0.5, 1.5), (-1.0, -1.5, -0.5), (0.0, -0.5, 0.5), (np.nan,) * 3)
)


def test_what_is_carried_over_is_told_part_by_part():
    parts = {"nats": {2: "yes"}, "classifier": {2: "no"}, "probes": {2: "no"}}
    carried = told.carried_over(parts)
    assert "can be exchanged" in carried and "Whether classifiers and probes can be carried over" in carried
    helps = {"denoising": {2: "yes"}, "clustering": {2: "contrary"}, "draws over plain": {2: "yes"}}
    assert (
        told.helped(helps)
        == "The correction helps with denoising and generating. The correction does harm to grouping."
    )
    costs = told.exchanged({**parts, "nats": {2: "contrary"}, "probes": {2: "contrary"}}, {2: Estimate(0.2, 0.1, 0.3)})
    assert (
        "above a tenth" in costs
        and "may lose more than 0.05 of accuracy" in costs
        and "lose more than 0.05 of R²" in costs
    )


def test_turning_afterwards_is_told_beside_the_correction():
    for more, words in ((ABOVE, "costs more"), (BELOW, "costs less"), (UNCLEAR, "not clearly cost more")):
        text, kept = told.turned({2: ABOVE}, {2: more})
        assert words in kept and "in nats" in text


def test_outliers_are_told_kind_by_kind_and_beside_chance():
    outcomes = {2: "contrary", 4: "contrary", 8: "yes"}
    values = {2: Estimate(0.2, 0.1, 0.3), 4: Estimate(0.05, 0.0, 0.1), 8: Estimate(0.8, 0.7, 0.9)}
    found = told.found_by_energy(outcomes, values, 0.05)
    assert found == {2: "few", 4: "chance", 8: "yes"}
    assert "few of them, 0.20" in told.energies_find(found, values)
    every, half, no = Estimate(1.0, 1.0, 1.0), Estimate(0.3, 0.2, 0.4), Estimate(0.0, 0.0, 0.0)
    kinds = told.found_by_kind({d: {"overlaid": half, "halves": no, "scrambled": every} for d in (2, 4)}, 0.05)
    assert kinds["overlaid"] == {2: "some", 4: "some"} and kinds["halves"][2] == "chance"
    kinds["overlaid"][4] = "chance"
    sentence = told.kinds_found(kinds)
    assert "overlaid, some at d = 2 and not clearly more than by chance at d = 4;" in sentence
    assert sentence.endswith("scrambled, more than half.")
    assert "that are scrambled" in told.rebuilt(kinds, {2: ABOVE, 4: ABOVE})
    assert "tells less" in told.rebuilt(kinds, {2: BELOW, 4: BELOW})


def test_gains_are_counted():
    assert (
        told.counted([ABOVE, ABOVE, BELOW, UNCLEAR, NONE])
        == "gains in 2 of 4 numbers, losses in 1, neither clearly in 1."
    )


def test_an_interval_wholly_behind_its_threshold_is_contrary(records):
    for claim in ("C6", "C7", "C8", "C9"):
        answers, outcomes, values = (f(records, claim) for f in (tables.answers, tables.outcomes, tables.measured))
        for key, own in outcomes.items():
            for d, outcome in own.items():
                assert answers[key][d] == ("no" if outcome == "contrary" else outcome)
                if outcome == "contrary":
                    assert np.isfinite([values[key][d].low, values[key][d].high]).all()


@pytest.mark.files
def test_what_beats_corrected_members_is_told_below_the_table():
    records = published("digits")
    told_below = tables.baselines(records).splitlines()[-1]
    assert all(f"Better than corrected members at d = {d}: " in told_below for d in records.baselines)
    assert "the images themselves (Rand index" in told_below and "nearest training image (noise 0.25" in told_below
