import dataclasses
from collections import defaultdict
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from vaept.companion import analysis, markdown, tables, wording
from vaept.companion.wording import seeds
from vaept.datasets import from_arrays
from vaept.vae.agreement import Estimate, compare, compare_pair


def test_all_analysis_figures_need_the_records_alone(records):
    made = analysis.analysis_figures(records)
    assert len(made) == 8 and all(isinstance(figure, Figure) for figure in made.values())
    for figure in made.values():
        assert any("profile test, data digits" in text.get_text() for text in figure.texts)


def test_a_study_without_a_plane_leaves_the_planes_out(records):
    arms = {key: record for key, record in records.arms.items() if key[1] == 4}
    made = analysis.analysis_figures(dataclasses.replace(records, arms=arms))
    assert "ten_seeds" not in made and "dose_response" in made


def test_likeness_forgives_rotations_only(records):
    found = analysis.likeness(records)
    assert all((values > 0.6).all() for values in found.values())
    record = records.arms["cold", 2]
    mixed = dataclasses.replace(record, mean=np.random.default_rng(0).permuted(record.mean, axis=1))
    found = analysis.likeness(dataclasses.replace(records, arms=records.arms | {("cold", 2): mixed}))
    assert (found["no field, cold start"] < 0.3).all()


def test_tables_show_estimates_and_minus_signs():
    shown = markdown.table(("a-b", "value"), [("x", Estimate(-0.5, -0.6, 0.4)), ("-1 y-z", -2)])
    assert shown.splitlines() == ["| a-b | value |", "|---|---|", "| x | −0.50 [−0.60, 0.40] |", "| −1 y-z | −2 |"]


def test_tables_show_a_dash_for_what_is_none_and_no_interval_where_there_is_none():
    nothing, point = Estimate(np.nan, np.nan, np.nan), Estimate(0.5, np.nan, np.nan)
    assert markdown.table(("a", "b"), [(nothing, point)]).splitlines()[-1] == "| – | 0.50 |"
    assert markdown.cell(np.array([1.0, 2.0])) == "1.50" and markdown.cell(np.array([np.nan])) == "none"


def test_classes_are_predicted_only_where_all_can_be(rng):
    labels = np.repeat([-3, 10**12], 20)
    latents = rng.standard_normal((40, 2)) + 100 * (labels > 0)[:, None]
    assert analysis.class_accuracy(latents, labels) == 1
    for few in (None, np.zeros(40, int), np.arange(40), np.arange(40) // 36):
        assert np.isnan(analysis.class_accuracy(latents, few))


def test_correlations_that_do_not_exist_are_none(rng):
    x = rng.standard_normal(5)
    assert analysis.correlation(x, -x).mean == pytest.approx(-1)
    assert np.isnan(analysis.correlation(x, np.ones(5)).mean) and np.isnan(analysis.correlation(x[:2], x[:2]).mean)
    assert (analysis.correlation(x[:3], x[:3]).low, analysis.correlation(x[:3], x[:3]).high) == (-1, 1)


def test_an_arm_that_was_not_trained_is_taken_from_the_published_run(records, monkeypatch):
    monkeypatch.setattr(analysis, "published", lambda profile: profile)
    assert analysis.with_arm(records, "warm") is records and analysis.with_arm(records, "wells") == "digits"


def test_cells_of_tables_say_where_nothing_was_measured():
    assert markdown.cell(np.array([1.0, 2, 3, np.nan]), ".1f").startswith("2.0 [1.")
    assert markdown.cell(np.array([-1.0])).startswith("−1.00") and markdown.cell(None) == "–"


def test_tables_are_rendered_or_replaced_by_what_is_said_instead():
    assert markdown.table(("a",), [(1,)])._repr_markdown_() == "| a |\n|---|\n| 1 |"
    assert markdown.table(("a",), [(1,)], instead="No data.")._repr_markdown_() == "No data."


def test_pairs_with_a_level_apart_are_counted():
    intervals = np.array([[[0, 1], [2, 3]], [[0.5, 1.5], [2, 3]], [[0.5, 1.5], [4, 5]]])
    assert analysis.apart(intervals) == (2, 3)


def test_groups_are_named_by_their_most_frequent_class():
    groups, labels = np.array([0, 0, 0, 1, 1, 2]), np.array([7, 7, -3, -3, -3, 7])
    order, words = analysis.majorities(groups, labels, 4)
    assert order.tolist() == [1, 3, 0, 2] and words == ["-3: 100%", "-3: 0%", "7: 67%", "7: 100%"]


def test_ends_of_modes_hold_the_classes_with_the_extreme_values():
    values, labels = np.stack([np.arange(40), -np.arange(40)], axis=1), np.repeat([5, 10**12], 20)
    classes, shares = analysis.ends(values, labels)
    assert classes.tolist() == [5, 10**12] and shares.tolist() == [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
    assert analysis.ends(values, None) == (None, None)


def test_a_map_is_blank_above_its_top():
    axes, heights = analysis.over_plane(lambda z: z[:, 0] + 10 * z[:, 1], (0, 0), (1, 2), top=15, n=3)
    assert [axis.tolist() for axis in axes] == [[0, 0.5, 1], [0, 1, 2]]
    assert heights[1].tolist() == [10, 10.5, 11] and np.isnan(heights[2]).all()


def test_the_class_of_the_lowest_and_of_the_highest_energy_are_named():
    assert "lowest energy is 3, that of the highest 1" in wording.extremes([3, 2, 1], [1, 2, 3])
    assert "one class only" in wording.extremes(["all"], [5]) and "no classes" in wording.extremes(["all"], [])


def test_verdicts_of_chapters_follow_the_checks():
    found = defaultdict(dict, loss={2: "yes", 4: "yes"}, permuted={2: "yes", 4: "no"})
    told = seeds.same_model(found, {"rotation": {2: "no", 4: "yes"}})
    assert all(words in told["same"] for words in ("nearly the same.", "it is not at d = 2", "may well be at d = 4"))
    assert "only part of the difference at d = 2, where" in told["rotated"] and told["rotated"].endswith("it at d = 4.")
    assert told["counted"].startswith("In that sense, the members of this copy are equal in loss and different in")
    assert told["counted"].endswith("equal in loss, and do not count as different in their coordinates at d = 4.")
    alone = seeds.same_model({"loss": {2: "no"}, "permuted": {2: "none"}}, {"rotation": {2: "no"}})
    assert alone["counted"].endswith("are not equal in loss.") and "difference: the maps differ" in alone["rotated"]
    assert "no source" in seeds.sources(found)
    found["same order"] = {2: "no", 4: "no"}
    assert seeds.sources(found) == "Members that share only the order of batches do not count as different."
    assert seeds.groove({2: "no", 4: "yes"}).startswith("It does not hold at d = 2: the best rotation does not clearly")
    assert "clearly explains less than 0.9" in seeds.groove({2: "contrary", 4: "none"})
    studies = [
        ("digits", 1438, {2: "contrary", 4: "yes"}, {4: "no"}, 0.01),
        ("own", 60, {2: "no", 4: "none"}, {}, None),
    ]
    assert seeds.conjecture(studies).endswith(
        "In published (digits), with 1 438 examples, the first fails at d = 2 and holds at d = 4, the second is "
        "undecided at d = 4 at λ = 0.01. In published (own), with 60 examples, the first is undecided at d = 2 and has "
        "no result at d = 4, the second was not made."
    )
    assert seeds.tally(studies) == (
        "Of its 4 tests in the studies that come with this book 1 holds, 1 fails and 2 are undecided."
    )
    assert seeds.conjecture([]) == "" and seeds.tally([]) == "Later chapters test it."
    assert seeds.refuted(studies) == "So one groove is refuted for published (digits) at d = 2."
    assert seeds.refuted(studies[1:]) == "" == seeds.refuted([])
    few, many = Estimate(0.5, 0.4, 0.6), Estimate(0.9, 0.8, 0.95)
    assert "better at d = 4 than at d = 2; why is not known" in seeds.better_turned(few, many, (2, 4))
    assert seeds.better_turned(many, few, (2, 4)) == seeds.better_turned(few, few, (2, 4)) == ""
    assert seeds.unexplained({2: few, 4: many}).endswith("all but 50 % at d = 2 and 10 % at d = 4.")


def test_levels_of_seeds_are_told_beside_those_of_other_densities():
    levels = {"levels": {2: "yes"}, "shuffled": {2: "yes"}, "Gaussian": {2: "no"}}
    off = {"Gaussian": {2: 4.8, 4: 9.8}, "shuffled": {2: 5.3, 4: 11.0}}
    values = {"levels": {2: Estimate(0.027, 0.01, 0.04), 4: Estimate(0.031, 0.02, 0.04)}}
    values["Gaussian"] = values["shuffled"] = {2: Estimate(0.57, 0.43, 0.64), 4: Estimate(0.25, 0.24, 0.26)}
    told = seeds.fingerprint(levels, values, {2: (0, 3)})
    assert "on average 2.7 at d = 2, 3.1 at d = 4 away" in told and "that is 0.57 [0.43, 0.64] at d = 2, 0.25 [" in told
    assert "One or both are not clearly twice as far away as seeds are, so" in told and "closely" not in told
    levels["Gaussian"][4] = levels["shuffled"][4] = levels["levels"][4] = "yes"
    told = seeds.fingerprint(levels, values, {2: (1, 3), 4: (0, 3)})
    assert "seeds differ at d = 2, by more" in told and told.endswith("twice as far away at d = 4 as seeds are.")
    told = seeds.ladders(levels, {2: (1, 3), 4: (0, 3)}, off)
    assert "Levels tell the space that seeds share from a Gaussian and from a shuffled map at d = 4." in told
    assert (
        "Levels do not clearly tell the space that" in told
        and "shuffled map at d = 2." in told
        and "5 of the 6" in told
    )
    assert "tells nothing at d = 2: both others are too" in told and "tells little at d = 4: one of" in told
    assert told.endswith("by more than the error of the draws: 1 of 3 at d = 2, 0 of 3 at d = 4.")
    wide = {name: dict.fromkeys((2, 4), 20.0) for name in off}
    assert "tells little" not in (told := seeds.ladders(levels, {2: (1, 3)}, wide)) and "  " not in told


def test_what_rotations_alone_would_leave_stands_beside_members():
    for d, expected in ((2, 4 / np.pi * np.sin(np.pi / 4)), (1, 1)):
        mean, low, high = analysis.left_by_rotations(d, 3)
        assert mean == pytest.approx(expected, abs=0.01) and low <= mean <= high + 1e-12
    assert analysis.left_by_rotations(4, 10)[0] < 0.8

    def records(**agreed):
        arms = {
            ("cold", int(d[1:])): SimpleNamespace(agreement=SimpleNamespace(signed_permutation=Estimate(value, 0, 1)))
            for d, value in agreed.items()
        }
        return SimpleNamespace(arms=arms)

    ranges = {2: (0.9, 0.82, 0.99), 4: (0.77, 0.7, 0.86), 8: (0.64, 0.6, 0.7)}
    told = seeds.rotations_alone(records(d2=0.72, d4=0.72, d8=0.8), ranges)
    assert (
        "would be 0.90 [0.82, 0.99] at d = 2, 0.77 [" in told and "less than that, 0.72 [0.00, 1.00] at d = 2" in told
    )
    assert "as far as that, 0.72 [0.00, 1.00] at d = 4: there rotations alone would pass" in told
    assert "better than that, 0.80 [0.00, 1.00] at d = 8" in told


def test_what_longer_training_and_stretching_explain_is_told_for_each_d():
    def records(epochs, **r2):
        arms, prices = {}, {}
        for d, value in r2.items():
            found = SimpleNamespace(orthogonal=Estimate(value, value, value))
            arms["cold", int(d[1:])], prices[int(d[1:])] = SimpleNamespace(agreement=found), found
        of = {"data": "images", "latent_dims": sorted(prices), "price": lambda arm, d: prices.get(d)}
        return SimpleNamespace(arms=arms, provenance={"settings": {"epochs": epochs}}, **of)

    told = seeds.unfinished(records(20, d2=0.69, d4=0.95), records(120, d2=0.7, d4=0.99))
    assert told.startswith(
        "(Of members trained for 120 epochs instead of 20, it leaves, in %, 30 at d = 2, 1 at d = 4."
    )
    assert "Most of the rest was training cut short at d = 4." in told and "hardly all of it at d = 2." in told
    assert seeds.unfinished(records(20, d2=0.69), records(20, d2=0.7)) == ""
    own = {
        d: SimpleNamespace(orthogonal=Estimate(*3 * [r2]), linear=Estimate(*3 * [linear]))
        for d, r2, linear in ((2, 0.69, 0.73), (4, 0.951, 0.953))
    }
    assert seeds.stretched(own).endswith("R² from 0.69 to 0.73 at d = 2 and no further than 0.95 at d = 4.")


def test_how_many_checks_of_spectra_hold_is_told_where_slow_modes_are_shown():
    found = {"states": {2: "no", 4: "yes"}, "outliers": {2: "none"}}
    assert seeds.interprets(found) == "in this copy 1 of its 3 tests hold."
    assert seeds.interprets({}) == "it was not tested in this copy."


def test_gaps_of_round_clouds_and_levels_of_others_are_measured(rng):
    few, many = (analysis.gap_by_chance(n, 3, 0.05) for n in (100, 1000))
    assert 0.05 < many < few < 0.8 and analysis.gap_by_chance(1000, 1, 0.05) < many
    ladder = np.array([0.0, 0.4, 0.5, 0.9])
    spectra = {"d = 2": ([ladder, ladder], [None, None])}
    assert analysis.off_the_seeds(spectra, {"other": {"d = 2": (1.1 * ladder, None)}})["other"][2] == pytest.approx(10)


def test_what_turning_costs_is_told_beside_what_was_foretold():
    def turning(foretold, measured):
        return SimpleNamespace(foretold=np.array(foretold), measured=np.array(measured))

    ratio = {d: Estimate(d, d, d) for d in (2, 4, 8, 16)}
    costs = {2: [[-2.0], [1], [1]], 4: [[0.5], [0.4], [0.45]], 8: [[-1.0], [-2.0], [-2]], 16: [[1.0]] * 3}
    turnings = {d: turning([[1.0]] * 3, measured) for d, measured in costs.items()}
    told = seeds.predicted({2: "no", 4: "no", 8: "no", 16: "yes"}, ratio, turnings)
    assert "cannot be told from 0 at d = 2, so" in told and "2.00 at d = 2" not in told
    assert "do not clearly agree to within a quarter at d = 4: foretold over measured, the mean of" in told
    assert "a cost was foretold at d = 8." in told and "agree to within a quarter at d = 16 (" in told
    assert "seems to gain for 1 of 3 members at d = 2 and 3 of 3 members at d = 8" in told
    told = seeds.predicted({16: "yes"}, {16: ratio[16]}, {16: turnings[16]})
    assert told.startswith("The cost foretold and the cost measured agree") and "gain" not in told
    assert seeds.costs({4: turnings[4]}) == {"foretold": "1 at d = 4", "measured": "0.45 [0.4, 0.5] at d = 4"}


def test_how_far_posteriors_are_from_the_true_ones_is_told_where_it_is_known(records):
    bare = {
        key: dataclasses.replace(own, log_likelihood=own.log_likelihood * np.nan) for key, own in records.arms.items()
    }
    assert "log p(x) minus ELBO is estimated as" in seeds.assumed(records)
    assert seeds.assumed(dataclasses.replace(records, arms=bare)) == ""


def test_intervals_of_few_members_are_called_what_they_are(rng):
    assert "no interval" in seeds.over_pairs(2)
    assert "range over their 3 pairs" in seeds.over_pairs(3)
    assert "too narrow" in seeds.over_pairs(10)
    for members in (3, 4):
        latents = rng.standard_normal((members, 50, 2))
        found = compare(latents).coordinates
        pairs = [compare_pair(*pair)[0] for pair in combinations(latents, 2)]
        assert (found.low, found.high) == pytest.approx((min(pairs), max(pairs)))


def test_the_limit_of_equal_losses_stands_beside_what_a_field_changes(records):
    gains = {d: Estimate(-1e-6, -2e-6, 0) for d in records.latent_dims}
    told = seeds.loose(records, gains, 30.0)
    assert told.startswith("In nats, the limit is") and "larger than" in told and "over the mean image is" in told
    assert "no larger than" in seeds.loose(records, {d: Estimate(1e6, 0, 2e6) for d in gains}, 30.0)
    assert seeds.loose(records, {}, 30.0).endswith(".")


def test_more_freedom_to_align_is_never_worse(rng):
    latents = rng.standard_normal((3, 60, 2))
    found = analysis.by_group(latents)
    steps = [found[name].mean for name in ("unmoved", "permuted", "orthogonal", "linear")]
    assert steps == sorted(steps) and found["coordinates"] == compare(latents).coordinates
    assert analysis.by_group([latents[0], -latents[0][:, ::-1]])["permuted"].mean == pytest.approx(1)
    assert analysis.by_group(np.zeros((2, 60, 2)))["unmoved"].mean == 0


def test_sources_that_no_copy_varied_are_told_from_what_is_published(records):
    bare = dataclasses.replace(records, prices=[])
    others = analysis.with_sources(bare)
    assert analysis.varies_sources(others) and others.profile == "digits"
    assert (
        "measured on digits, with 5 members a row and" in seeds.elsewhere(bare, others)
        and seeds.elsewhere(bare, bare) == ""
    )
    assert "initial weights that matter at d = 4" in seeds.decisive(others) and seeds.decisive(bare) == ""
    assert str(tables.sources(bare)) == "In this copy no source was held fixed by itself."
    assert "runs from 0.37 to 0.72 at d = 2, but all its intervals" in seeds.rotated_rows(others)
    assert seeds.rotated_rows(bare) == "" and "0.897" in str(tables.sources(others))
    assert "| what varies | what is shared |" in str(tables.sources(others))
    assert "| order, noise | weights |" in str(tables.sources(others))


def test_longer_training_and_noisy_draws_stand_beside_what_a_rotation_leaves(records):
    def with_r2(value, epochs, data="digits"):
        r2 = SimpleNamespace(orthogonal=Estimate(value, value, value))
        arms, provenance = {("cold", 2): SimpleNamespace(agreement=r2)}, {"settings": {"epochs": epochs}}
        return SimpleNamespace(data=data, latent_dims=[2], arms=arms, provenance=provenance, price=lambda arm, d: r2)

    few, many = with_r2(0.5, 2), with_r2(0.7, 8)
    told = seeds.unfinished(few, many)
    assert "for 8 epochs instead of 2, it leaves, in %, 30 at d = 2" in told and "hardly all of it" in told
    assert "Most of the rest was training cut short." in seeds.unfinished(few, with_r2(0.95, 8))
    assert seeds.unfinished(few, with_r2(0.7, 8, "cells")) == ""
    assert seeds.unfinished(few, few) == ""
    assert "a scale and no ceiling; members" in seeds.itself(records)


def test_how_a_difference_grows_is_told_where_members_share_all_but_one_source(records):
    varied = dataclasses.replace(records.prices[0], arm="vary_order")
    assert "has grown" in seeds.grown(dataclasses.replace(records, prices=[varied]))
    assert seeds.grown(dataclasses.replace(records, prices=[])) == ""


def test_members_beside_a_sketch_and_beside_one_mean_image_are_told_for_either_outcome():
    losses = np.array([25.9, 26.1])
    better = wording.sketched(25.1, losses, gaussian=False)
    assert "25.1 nats, they at 26.00 ± 0.14: members" in better and better.endswith("was not measured here.")
    assert wording.sketched(27.0, losses, gaussian=False).endswith("26.00 ± 0.14.")
    assert wording.sketched(25.1, losses, gaussian=True) == ""
    binary, grey = np.eye(4, dtype=np.float32), np.full((4, 4), 0.5)
    flat, floor = wording.yardsticks(binary, binary, gaussian=False)
    assert 4 * 0.5 < flat < 4 * np.log(2) and floor == 0
    assert wording.yardsticks(grey, grey, gaussian=False) == pytest.approx((4 * np.log(2), 4 * np.log(2)))
    values = np.random.default_rng(0).standard_normal((1000, 2))
    flat, floor = wording.yardsticks(values, values, gaussian=True)
    assert flat == pytest.approx(1 + np.log(2 * np.pi), abs=0.1) and np.isnan(floor)


def test_what_members_gain_on_one_mean_image_is_told_for_every_outcome():
    told = wording.gains(27.0, 13.7, 25.9, 25.1)
    assert told.startswith(
        ", and even a perfect one, y = x, 13.7, as pixels are grey. Of the 13.3 nats between the two, "
    )
    assert told.endswith("members gain 1.1 and the sketch above gains 1.9")
    assert wording.gains(27.0, 0.0, 28.0, 27.5) == ". Beside it, members lose 1.0 and the sketch above loses 0.5"
    assert wording.gains(27.0, np.nan, 28.0, 27.5) == ""


def test_the_energy_of_what_is_far_from_the_mean_is_told_for_every_outcome():
    images = np.arange(10.0)[:, None]
    found, energy = SimpleNamespace(train=images * 0, test=images), np.arange(10.0)
    assert "the more energy it tends" in wording.far_from_the_mean(found, energy)
    assert "the less energy" in wording.far_from_the_mean(found, -energy)
    assert "hardly tells" in wording.far_from_the_mean(found, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5])


def test_a_mode_is_read_by_its_shape_and_by_the_classes_at_its_ends():
    assert "more than a direction" in seeds.ramp(0.5) != seeds.ramp(0.95)
    values, labels = np.arange(60.0), np.repeat([7, 3, 5], 20)
    told = seeds.mode_ends(*analysis.ends(values[:, None], labels), 3)
    assert "Of the 3 images" in told and "orange end 100% are of class 7" in told and told.endswith("of class 5.")
    assert seeds.mode_ends(None, None, 3) == seeds.mode_ends(*analysis.ends(values[:, None], labels * 0), 3) == ""
    assert "accident" in seeds.split_pair(0.01, 0.1, 99)
    assert "16% apart. That may be chance: were the cloud of every seed 99 draws" in seeds.split_pair(0.16, 0.2, 99)
    assert "more than chance" in seeds.split_pair(0.3, 0.2, 99)


def test_a_study_without_a_price_list_says_so(records):
    without = dataclasses.replace(records, prices=[], labs=[], lengths={})
    for made in (analysis.price_list, tables.prices):
        assert str(made(without)) == "This study has no price list."
    assert "no source" in tables.sources(without) and "no two labs" in tables.labs(without)


def test_an_agreement_that_is_too_small_has_fallen_only_if_it_was_clearly_larger_before():
    def series(*found):
        return SimpleNamespace(coordinates=[Estimate(*each) for each in found])

    fell = series((0.99, 0.98, 0.995), (0.9, 0.85, 0.95))
    stayed = series((0.968, 0.96, 0.978), (0.974, 0.96, 0.98))
    held = {2: "yes", 4: "no", 8: "no", 16: "none"}
    found = wording.lasting(held, {2: fell, 4: fell, 8: stayed, 16: stayed})
    assert found == {2: "yes", 4: "falls", 8: "short", 16: "none"}


def test_what_modes_go_with_is_measured_for_classes_and_for_properties_of_pictures(rng):
    images = np.zeros((300, 8, 8), dtype=np.float32)
    for row, image in enumerate(images):
        image[1 : 2 + row % 6, 3] = 1  # so long a line
    dataset = from_arrays(images, np.arange(300) % 3)
    labels, pictures = dataset.test_labels, dataset.test.reshape(-1, 8, 8)
    values = np.stack([pictures.sum(axis=(1, 2)), labels == 1, rng.standard_normal(60)], 1)
    found = analysis.followed(values, dataset, labels)
    assert found["class"][1] > 0.999 > found["class"][0] and found["mass"][0] > 0.999 > found["mass"][1]
    assert found["class"][2] < 0.3 and found["mass"][2] < 0.3
    assert set(analysis.followed(values, dataset, None)) == {"slant", "width", "height", "mass", "thickness"}
    rows = from_arrays(images.reshape(300, 64), np.arange(300) % 3)
    assert set(analysis.followed(values, rows, labels)) == {"class"}
