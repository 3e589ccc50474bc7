"""Sentences of chapters 6 and 7, for outcomes of every side."""

import numpy as np
import pytest

from vaept.companion import tables
from vaept.companion import wording_of_uses as told
from vaept.companion.records import published
from vaept.vae.agreement import Estimate

ABOVE, BELOW, UNCLEAR, NONE = (
    Estimate(*ends) for ends in ((1.0, 0.5, 1.5), (-1.0, -1.5, -0.5), (0.0, -0.5, 0.5), (np.nan,) * 3)
)


def test_a_map_is_told_by_how_many_minima_it_has():
    one = told.on_the_map(np.array([np.inf]), [0])
    assert one["minima"] == "One minimum was found." and one["marks"] == one["lines"] == ""
    shallow = told.on_the_map(np.array([np.inf, 0.05, 0.01]), [0])
    assert shallow["minima"] == "3 minima were found; the one that is deep is numbered."
    assert "a single valley deeper than 0.1 kT" in shallow["answer"] and "further minima" in shallow["marks"]
    two = told.on_the_map(np.array([np.inf, 2.0, 0.01]), [0, 1])
    assert "2 valleys" in two["answer"] and "slows a walker down" in two["answer"] and "paths" in two["lines"]
    assert "no path" in told.on_the_map(np.array([np.inf, np.inf]), [0, 1])["answer"]
    many = told.on_the_map(np.full(9, 1.0), list(range(8)))
    assert "8 lowest" in many["minima"]


def test_paths_on_which_a_classifier_is_less_sure_are_told_so():
    path, kept = told.along_paths({2: "none", 4: "yes"}, {2: "none", 4: "contrary"}, {2: NONE, 4: BELOW})
    assert "no two deep minima to compare paths between at d = 2" in path and "stays lower" in path
    assert "less sure along it at d = 4" in path and "it is surer than that at d = 4" in path
    assert "need not look better" in kept
    path, kept = told.along_paths({2: "contrary"}, {2: "yes"}, {2: ABOVE})
    assert "lies higher" in path and "not the detour alone" in path and "looks better" in kept
    assert "not clearly surer than along mirrored paths" in told.along_paths({2: "no"}, {2: "yes"}, {2: UNCLEAR})[0]
    assert told.along_paths({2: "none"}, {}, {})[1] == ""


@pytest.mark.parametrize(
    ("ratio", "words"),
    [((1.4, 1.3, 1.5), "They do."), ((0.9, 0.8, 0.95), "less time"), ((1.0, 0.9, 1.1), "do not clearly")],
)
def test_walkers_are_told_to_be_late_only_if_they_are(ratio, words):
    walk, late = told.forgetting({2: "contrary"}, {2: Estimate(*ratio)}, {2: Estimate(1, 0.9, 1.1)}, {2: BELOW})
    assert words in late and "off by more than a tenth" in walk and "width predicts better" in walk


def test_nothing_measured_is_not_a_failure():
    walk, late = told.forgetting({2: "none"}, {2: NONE}, {}, {})
    assert "could not be measured here" in walk and late == ""


def test_valleys_are_told_beside_a_gaussian():
    assert "longer" in told.valleys_matter(3.0, 2.0) and "hardly matter" in told.valleys_matter(2.1, 2.0)
    assert "not well known" in told.valleys_matter(1.0, 2.0)


def test_groups_are_told_worse_where_they_are():
    states = told.reached({2: "contrary", 4: "no"}, {2: BELOW, 4: UNCLEAR}, {2: "contrary", 4: "contrary"})
    assert "have less" in states and "not clearly more" in states and states.endswith("They do worse than k-means.")
    modes = told.read_otherwise({2: "contrary"}, {2: "contrary"}, {2: ABOVE})
    assert "do worse than k-means" in modes and "predict classes worse" in modes and "bare images" in modes
    assert told.read_otherwise({}, {}, {}) == ""


def test_what_is_carried_over_is_told_in_numbers():
    values = {"classifier": {2: Estimate(-0.04, -0.06, 0.004), 4: ABOVE}, "probes": {}}
    lost = told.losses(values)
    assert lost == "On another's latents a classifier loses accuracy: 0.04 at d = 2, −1.00 at d = 4."
    assert "0.04 [0.00, 0.06] at d = 2" in told.losses(values, intervals=True) and told.losses({}) == ""
    carried = told.carried_over({"nats": {2: "yes"}}, lost)
    assert "can be exchanged" in carried and carried.endswith(lost)
    helps = {"denoising": {2: "yes"}, "clustering": {2: "contrary"}, "draws over plain": {2: "yes"}}
    assert told.helped(helps) == (
        "The correction helps with denoising and generating (by Fréchet distance). "
        "The correction does harm to grouping."
    )
    assert "above a tenth" in told.exchanged({"nats": {2: "contrary"}}, {2: Estimate(0.2, 0.1, 0.3)})


def test_turning_afterwards_is_told_beside_the_correction():
    for more, words in ((ABOVE, "costs more."), (BELOW, "costs less."), (UNCLEAR, "costs not clearly more or less.")):
        assert told.turned({2: more}).endswith(words)
    assert "it costs more at d = 2 and less at d = 4." in told.turned({2: ABOVE, 4: BELOW})
    worth = told.worth_it({2: "yes", 4: "yes", 8: "no", 16: "none"}, {2: ABOVE, 4: BELOW, 8: UNCLEAR, 16: NONE})
    assert "is worth it at d = 2" in worth and "turn finished ones at d = 4" in worth and "d = 16" not in worth
    assert "does not clearly make an exchange cheap at d = 8; turning is not clearly cheaper" in worth


def test_variety_and_the_field_itself_are_told():
    text = told.varied({"draws": {2: BELOW, 4: ABOVE}, "plain": {2: UNCLEAR}})
    assert "less varied at d = 2" in text and "models are not clearly more or less varied." in text
    assert told.varied({"draws": {}, "plain": {}}) == ""
    assert "may be what the field knew" in told.grouped_by_field({2: 0.8}, {2: BELOW})
    assert "do better" in told.grouped_by_field({2: 0.8}, {2: ABOVE})
    assert "slow modes do worse than k-means" in told.spectral({2: "contrary"}, {})


def test_other_methods_are_told_by_side():
    found = {"a": {2: "above", 4: "above"}, "b": {2: "below", 4: "unclear"}, "c": {}}
    assert told.beside_others("These", found) == (
        "These do better than a; worse than b (d = 2); not clearly better or worse than b (d = 4)."
    )
    assert told.beside_others("These", {"c": {}}) == ""


def test_outliers_are_told_kind_by_kind_and_beside_chance():
    outcomes = {2: "contrary", 4: "contrary", 8: "yes"}
    values = {2: Estimate(0.2, 0.1, 0.3), 4: Estimate(0.05, 0.0, 0.1), 8: Estimate(0.8, 0.7, 0.9)}
    found = told.found_by_energy(outcomes, values, 0.05)
    assert found == {2: "few", 4: "chance", 8: "yes"}
    assert "few of them, 0.20" in told.energies_find(found, values)
    kinds = {"overlaid": {2: BELOW, 4: UNCLEAR}, "halves": {2: UNCLEAR, 4: UNCLEAR}, "scrambled": {2: ABOVE, 4: ABOVE}}
    assert told.kinds_found(kinds) == (
        "−ELBO finds more of those scrambled; the energy finds more of those overlaid (d = 2); "
        "neither clearly finds more of those overlaid (d = 4) and halves."
    )
    assert told.kinds_found({"halves": {}}) == ""
    assert told.rebuilt(kinds, {2: ABOVE, 4: ABOVE}).endswith("than the energy, though less of those overlaid.")
    assert "tells less" in told.rebuilt(kinds, {2: BELOW, 4: BELOW})


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


@pytest.mark.files
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


@pytest.mark.files
def test_bounds_in_another_order_are_told():
    records = published("digits")
    assert "|" in tables.rates(records).splitlines()[-1]
    bounds = records.arms["corrected", 2].uses["bracket"]
    bounds.upper[:, 0] = bounds.lower[:, 0] - 0.1
    assert "an assumption fails" in tables.rates(records)
