"""Sentences of chapter 6, for outcomes of every side."""

from types import SimpleNamespace

import numpy as np
import pytest

from vaept.companion import tables
from vaept.companion.records import published
from vaept.companion.wording import landscapes as told
from vaept.vae.agreement import Estimate

ABOVE, BELOW, UNCLEAR, NONE = (
    Estimate(*ends) for ends in ((1.0, 0.5, 1.5), (-1.0, -1.5, -0.5), (0.0, -0.5, 0.5), (np.nan,) * 3)
)


def test_a_map_is_told_by_how_many_minima_it_has():
    one = told.on_the_map(np.array([np.inf]), [0], 0)
    assert one["answer"].startswith("Hardly") and one["minima"] == "One minimum was found." and one["drawn"] == ""
    assert "and 1 held by less than 0.01 kT" in told.on_the_map(np.array([np.inf, 0.001]), [0], 1)["minima"]
    shallow = told.on_the_map(np.array([np.inf, 0.05, 0.01]), [0], 2)
    assert shallow["minima"] == "3 minima were found, 1 of them deep."
    assert (
        "no valley of the map is as deep as 0.1 kT" in shallow["answer"]
        and shallow["drawn"] == ", crosses at the saddles"
    )
    two = told.on_the_map(np.array([np.inf, 2.0, 0.01]), [0, 1], 1)
    assert (
        "Yes: the map shows 2 valleys" in two["answer"]
        and "slows a walker down" in two["answer"]
        and "paths" in two["drawn"]
    )
    assert "no path" in told.on_the_map(np.array([np.inf, np.inf]), [0, 1], 0)["answer"]
    many = told.on_the_map(np.full(9, 1.0), list(range(8)), 8)
    assert "9 of them deep; the 8 lowest" in many["minima"]


def test_deep_minima_are_counted_for_all_members_and_beside_what_states_need():
    counts = {2: np.array([1.0, 1.0]), 4: np.array([5.0, 8.0])}
    assert told.deep_in_members(counts) == "1 at d = 2 and 5 to 8 or more at d = 4"
    assert told.beyond_the_map({2: counts[2]}) == ""
    assert told.beyond_the_map(counts) == (
        "At d = 4 each corrected member has 5 to 8 or more valleys of 0.1 kT or more, counting the lowest."
    )
    assert "has 1 valley of" in told.beyond_the_map({4: counts[2]})
    assert "0.1 kT is not deep" in told.valleys_wanted(counts, 10) and "fewer" in told.valleys_wanted(
        {2: counts[2]}, 10
    )


def test_minima_are_sought_in_other_maps():
    minima = np.array([[0.0, 0.0], [1.0, 1.0]])
    other = SimpleNamespace(minima=np.array([[0.1, 0.1], [3.0, 3.0]]), persistence=np.array([np.inf, 0.25]))
    same = SimpleNamespace(minima=minima, persistence=np.array([np.inf, 0.01]))
    found = told.found_again(minima, {"halves give": [other, same], "other seeds give": []})
    assert found == "Of those with numbers, there are again, within 0.3 of their places: halves give 1 of 2 and 2 of 2."
    found = told.found_again(minima, {"seeds give": [same, same]}, np.add(minima, [0.1, 0.0]))
    assert "seeds give all. (A weak test: a saddle is 0.1 away" in found
    assert "weak" not in told.found_again(minima, {"seeds give": [same]}, minima[:1] + 0.5)
    assert told.barriers_of([same]) == "" and told.barriers_of([same, other]).endswith("none and 0.25 kT.")


def test_paths_on_which_a_classifier_is_less_sure_are_told_so_for_both_arms():
    found = {"paths energy": {2: "none", 4: "yes"}, "paths sure": {2: "none", 4: "contrary"}}
    low, plain = Estimate(0.4, 0.3, 0.5), {2: NONE, 4: UNCLEAR}
    path = told.along_paths(found, {2: NONE, 4: low}, {2: NONE, 4: BELOW}, plain)
    assert "stays lower than the straight line at d = 4" in path and "hardly any mountains" in path
    assert "the classifier is less sure at d = 4" in path and "no landscape, it is surer at d = 4" in path
    assert (
        "straight lines, is 0.00 [−0.50, 0.50] at d = 4: neither clearly surer nor less sure." in path
        and "d = 2" not in path
    )
    found = {"paths energy": {2: "contrary"}, "paths sure": {2: "yes"}}
    path = told.along_paths(found, {2: Estimate(2.0, 1.8, 2.2)}, {2: ABOVE}, {2: BELOW})
    assert "lies higher" in path and "no landscape, it is less sure" in path and "mountains" not in path
    assert "is −1.00 [−1.50, −0.50]: less sure." in path
    none = told.along_paths({"paths energy": {2: "none"}, "paths sure": {}}, {2: NONE}, {}, {})
    assert none == "No corrected member has two deep minima."


@pytest.mark.parametrize(
    ("ratio", "words"),
    [((1.4, 1.3, 1.5), "take longer"), ((0.9, 0.8, 0.95), "less time")],
)
def test_walkers_are_told_to_be_late_only_if_they_are(ratio, words):
    walk, late = told.forgetting({2: "contrary"}, {2: Estimate(*ratio)}, {2: Estimate(1, 0.9, 1.1)}, {2: BELOW})
    assert words in late and "off by more than a tenth" in walk and "width predicts better" in walk


def test_an_interval_that_is_too_wide_is_not_a_disagreement():
    ratios = {2: Estimate(0.96, 0.87, 1.02), 4: Estimate(1.41, 1.33, 1.5)}
    sentence = told.rates({2: "no", 4: "contrary"}, ratios)
    assert "within 4% on average at d = 2" in sentence and "take 1.41 [1.33, 1.50] at d = 4 times" in sentence
    walk, late = told.forgetting({2: "no"}, {2: ratios[2]}, {}, {})
    assert "close to it on average but not certainly within a tenth" in walk and late == ""
    assert "predicted, not certainly" in told.forgetting({2: "no"}, {2: Estimate(1.2, 1.0, 1.4)}, {}, {})[0]
    assert "within a tenth" in told.rates({2: "yes"}, {2: ratios[2]})


def test_nothing_measured_is_not_a_failure():
    walk, late = told.forgetting({2: "none"}, {2: NONE}, {}, {})
    assert "could not be measured here" in walk and late == "" and "could not" in told.rates({2: "none"}, {2: NONE})


def test_the_slowest_mode_is_told_beside_a_gaussian_and_a_flat_cloud():
    assert "the rest is due to valleys" in told.slowest_mode(3.0, 2.0, [0.5]) and "within a tenth" in told.slowest_mode(
        2.1, 2.0, [1.0]
    )
    flat = told.slowest_mode(2.3, 2.0, [0.97, 0.95])
    assert "15% longer; a flat cloud" in flat and "97% and 95%" in flat and "hardly more than directions" in flat
    short = told.slowest_mode(1.0, 2.0, [0.97, 0.5])
    assert "not well known" in short and "they are more than directions" in short


def test_groups_are_told_worse_where_they_are_and_alike_where_that_hardly_matters():
    gains, close = {2: BELOW, 4: BELOW}, Estimate(-0.01, -0.02, -0.005)
    states = told.reached({2: "contrary", 4: "no"}, {2: BELOW, 4: UNCLEAR}, {2: "contrary", 4: "contrary"}, gains)
    assert "too little at d = 2 and not clearly enough at d = 4." in states
    assert states.endswith("They do worse than k-means.")
    modes = told.read_otherwise({2: "contrary"}, {2: "contrary"}, {2: ABOVE})
    assert "another motion, do worse." in modes and "per class they do worse." in modes and "bare images" in modes
    assert told.read_otherwise({}, {}, {}) == ""
    assert told.sized({2: "contrary", 4: "none"}, {2: close, 4: NONE}) == {2: "slight", 4: "none"}
    assert told.sized({2: "no"}, {2: Estimate(0.0, -0.01, 0.01)}) == {2: "close"}
    both = told.read_otherwise({2: "close", 4: "no"}, {}, {})
    assert both.endswith("do as well to within 0.02 at d = 2 and neither clearly better nor worse at d = 4.")
    assert "do worse by at most 0.02." in told.read_otherwise({2: "slight"}, {}, {})


def test_bounds_that_cross_and_a_width_that_predicts_as_well_are_told():
    assert told.crossing({2: UNCLEAR, 4: BELOW}) == ""
    crossed = told.crossing({2: Estimate(0.1, -0.1, 0.2), 4: ABOVE, 8: BELOW})
    assert (
        "cross at d = 2, by less than the errors: they are near each other and certify nothing" in crossed
        and "cross at d = 4, by more than the errors" in crossed
    )
    assert "as well" in told.by_width({2: UNCLEAR}) and "better" in told.by_width({2: BELOW})
    assert told.by_width({2: ABOVE}) == ""
    assert "hardly more than directions" in told.directions([0.97, 0.95], 4) and "hardly" not in told.directions(
        [0.5], 4
    )


@pytest.mark.parametrize("name", ["digits", "mnist", "cells"])
def test_the_verdict_is_told_of_every_published_study(name):
    records = published(name)
    outcomes, values = tables.outcomes(records, "C7"), tables.measured(records, "C7")
    verdict = told.dynamics(outcomes, values["relaxation"])
    assert "straight lines" in verdict and "{" not in verdict
    states, values = (f(records, "C6")["states"] for f in (tables.outcomes, tables.measured))
    assert "match the classes with an index of" in told.regions(states, values, values)


def test_bounds_in_another_order_are_told():
    records = published("digits")
    assert tables.rates(records).endswith("Exact numbers would rise from left to right.")
    bounds = records.arms["corrected", 2].uses["bracket"]
    bounds.upper[:, 0] = bounds.lower[:, 0] - 0.1
    assert "At d = 2 some do not, by more than their errors: an assumption fails" in tables.rates(records)


def test_spaces_of_bare_images_are_listed_once():
    table = tables.spaces(published("digits"))
    assert table.count("principal components of the images") == table.count("no model | modes of the walk") == 1


def test_what_a_mode_goes_with_is_told_by_classes_and_the_best_property():
    shares = {"class": np.array([0.5, 0.1]), "mass": np.array([0.2, 0.3]), "slant": np.array([0.25, 0.1])}
    of_modes, told_ = told.sorted_by(shares)
    assert of_modes == ["50% between classes, 25% slant", "10% between classes, 30% mass"]
    assert "the classes and the property" in told_ and told_.endswith("mode 2: 10% between classes, 30% mass.")
    assert told.sorted_by({"class": np.array([0.5])})[0] == ["50% between classes"]
    assert told.sorted_by({}) == ([], "")
