import dataclasses
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

from vaept.companion import analysis, benchmarks
from vaept.companion.wording import fields as told_of
from vaept.vae.agreement import Estimate

HIGH, LOW = Estimate(0.98, 0.975, 0.99), Estimate(0.5, 0.4, 0.6)


def with_arms(records, d=2, **found):
    """Records whose arms agree in this d as they are told, and in no other."""
    arms = {
        (name, d): SimpleNamespace(
            agreement=SimpleNamespace(coordinates=own, signed_permutation=own, orthogonal=own),
            minus_elbo=np.arange(3.0),
            active_units=np.full(3, d),
            run=f"ensemble-{name}",
        )
        for name, own in found.items()
    }
    named = {"latent_dims": [d], "all_dims": [d], "arms": arms, "prices": [], "labs": records.labs}
    own = SimpleNamespace(**named, provenance={"settings": {"coupling": 1.5}})
    own.price = lambda name, d: next((each for each in own.prices if (each.arm, each.d) == (name, d)), None)
    return own


def row(name, coupling, agreed, d=2):
    return SimpleNamespace(arm=name, d=d, coupling=coupling, coordinates=agreed)


def test_intervals_of_three_members_are_said_to_be_narrow(records):
    assert "read them as ranges" in told_of.few(with_arms(records, cold=HIGH))
    assert told_of.few(records) == ""


def test_it_is_the_field_only_where_both_controls_agree_clearly_less(records):
    found = defaultdict(dict, {"without warm": {2: "no"}, "without cold": {2: "yes"}})
    told = told_of.is_the_field(with_arms(records, corrected=HIGH, warm=LOW, shuffled=LOW), found)
    assert told.startswith("It is the field:") and "with a warm start and no field" in told and "cold" not in told
    told = told_of.is_the_field(with_arms(records, corrected=HIGH, warm=LOW, shuffled=HIGH), defaultdict(dict))
    assert told == "Whether it is the field cannot be told."


def test_latents_are_compared_with_their_field(records):
    latents = records.arms["corrected", 2].mean
    noise = np.random.default_rng(0).standard_normal((latents.shape[1], 4))
    assert "does not simply become u" in told_of.follows(records, noise)
    field = np.zeros((latents.shape[1], 4))
    field[:, :2], field[:, 2:] = latents.mean(axis=0), noise[:, 2:]
    assert "less than with each other at d = 4" in told_of.follows(records, field)


@pytest.mark.parametrize(("linear", "words"), [(HIGH, "cannot be told apart"), (LOW, "less well")])
def test_linear_and_neighbour_field_are_compared_by_agreement(records, linear, words):
    assert words in told_of.linear_or_neighbour(with_arms(records, principal=linear, corrected=HIGH))
    assert "agree better" in told_of.linear_or_neighbour(with_arms(records, principal=HIGH, corrected=LOW))


def test_arms_in_a_field_are_counted_beside_turned_models(records):
    own = with_arms(records, principal=LOW, diffusion=LOW, corrected=HIGH)
    assert told_of.against_turning(own) == told_of.linear_against_turning(own) == "" and analysis.priced(own) == []
    own.prices = [row("cold", None, LOW), row("cold, turned", None, Estimate(0.9, 0.85, 0.95))]
    own.prices += [row("principal", 1.5, HIGH), row("shuffled", 1.5, HIGH), row("neighbour_each", 1.5, HIGH)]
    assert [each.arm for each in analysis.priced(own)[5:]] == ["diffusion", "corrected"]
    assert told_of.against_turning(own).endswith("more than turned models: 2 of 3 at d = 2.")
    assert told_of.linear_against_turning(own).endswith("than turning.")


def test_turning_is_judged_by_the_better_of_two_starts(records, monkeypatch):
    own = with_arms(records, corrected=HIGH, warm=LOW, cold=LOW)
    assert told_of.turning(own) == {}
    own.prices = [row("cold", None, LOW), row("cold, turned", None, LOW)]
    for turned, words in ((LOW, "above"), (Estimate(0.96, 0.955, 0.97), "enough"), (HIGH, "unclear")):
        warm = SimpleNamespace(coordinates=turned, signed_permutation=turned, orthogonal=turned)
        for module in (told_of, analysis):
            monkeypatch.setattr(module, "warm_turned", lambda records, d, warm=warm: warm)
        assert told_of.best_turned(own) == {2: turned} and told_of.turning(own) == {2: words}
        assert told_of.gained(own)[2].mean == HIGH.mean - turned.mean
        assert "at d = 2 (warm start): the better" in told_of.turned(own) or turned.mean <= LOW.mean
    told = told_of.after_rotation(own)
    assert "0.50 with a cold start and 0.50 with a warm one: more than" in told
    own.arms["warm", 2].agreement.orthogonal = HIGH
    assert "more than a rotation sets them apart with the cold start, hardly more" in told_of.after_rotation(own)
    trial = {"d": 2, "coupling": 0, "schedule": {"warm_start": 0.2}, "data": "a", "members": 6, "epochs": 60}
    monkeypatch.setattr(benchmarks, "results", lambda name: [trial | {"rotated": 0.7}])
    assert told_of.after_rotation(own).endswith("(in a trial below 0.70, measured on a, 6 members, 60 epochs).")
    trial["schedule"] = {}
    assert told_of.after_rotation(own).endswith("hardly more with the other.")
    own.arms["cold", 2].agreement.orthogonal = HIGH
    assert "one: hardly more than" in told_of.after_rotation(own)
    own.arms["principal", 2] = own.arms["diffusion", 2] = own.arms["corrected", 2]
    assert [each.arm for each in analysis.priced(own)][:4] == ["cold", "cold, turned", "warm", "warm, turned"]


def test_labs_are_told_beside_their_fields_and_published_ones(records):
    def labs(*fields):
        return SimpleNamespace(labs=[SimpleNamespace(between=HIGH, fields=each) for each in fields])

    assert "to within 0.03" in told_of.like_their_fields(labs(0.95, None)) and not told_of.like_their_fields(labs(None))
    assert "in 1 of 2 rows" in told_of.like_their_fields(labs(0.95, 0.5))
    assert "cells" in told_of.published_labs()


def test_agreement_after_further_epochs_is_too_low_or_too_uncertain(records):
    def told(after, before=LOW):
        own = SimpleNamespace(aftermath={2: SimpleNamespace(coordinates=[before, after], values=np.array([0, 20.0]))})
        assert told_of.further_epochs(own) == "20"
        return told_of.aftermath({2: "no"}, own)[2]

    assert (told(LOW), told(HIGH), told(Estimate(0.1, 0.0, 0.2))) == ("short", "held", "falls")
    assert told(Estimate(0.97, 0.9, 0.98), HIGH) == "wide"


def test_lengths_that_leave_a_question_open_say_why():
    one, two = (SimpleNamespace(values=np.array(own)) for own in ([0, 1.0], [0, 0.1, 1.0]))
    assert "not tried" in told_of.undecided(
        {}
    ) and "only λ = 1 was tried at both 20 and 40 epochs." in told_of.undecided({20: one, 40: one})
    steps = SimpleNamespace(values=np.array([0, 0.1, 1.0]), coordinates=[LOW, Estimate(0.1, 0, 0.2), HIGH])
    assert told_of.undecided({20: one, 40: one}, steps).endswith("between 0.1 and 1.")
    steps.coordinates[1] = HIGH
    assert told_of.undecided({20: one, 40: one}, steps).endswith("40 epochs.")
    other = SimpleNamespace(values=np.array([0, 0.1]))
    assert "one λ was tried at each" in told_of.undecided({20: one, 40: other})
    assert "(0.1 and 1) after each of 20 and 40 epochs" in told_of.undecided({40: two, 20: two})
    assert "at every length" in told_of.undecided({40: two, 20: one})


def test_a_caption_explains_only_marks_that_are_drawn():
    line = SimpleNamespace(get_marker=lambda: "v", get_xdata=lambda: [1])
    figure = SimpleNamespace(axes=[SimpleNamespace(lines=[line])])
    assert told_of.drawn(figure, told_of.DOSE_MARKS) == told_of.DOSE_MARKS["v"] and told_of.drawn("", {"v": "a"}) == ""


def test_only_rows_that_a_list_has_are_explained(records):
    own = with_arms(records)
    own.prices = [row("cold", None, LOW), row("start_3", 1.5, LOW)]
    assert told_of.rows_of(own) == told_of.ROWS["start_"]


def test_two_labs_are_quoted_where_this_copy_has_none(records, monkeypatch):
    monkeypatch.setattr(analysis, "published", lambda name: records)
    quoted = told_of.labs(dataclasses.replace(records, labs=[]), {})
    assert quoted.startswith("This copy has no row") and "at least the 0.97" in quoted
    dims = sorted({each.d for each in records.labs})
    assert "that have never met" in told_of.labs(records, dict.fromkeys(dims, "yes"))
    assert "not clearly the 0.97" in told_of.labs(records, dict.fromkeys(dims, "no"))


def test_full_covariances_and_wells_are_judged_by_their_intervals(records, monkeypatch):
    small = with_arms(records, turnable_corrected=HIGH, turnable=LOW, warm=HIGH, wells=LOW)
    monkeypatch.setattr(analysis, "with_arm", lambda records, name: small)
    assert "agree too" in (told := told_of.full_covariance(records)) and "why was not looked into" in told
    assert "not clearly more" in told_of.wells(records)
    small = with_arms(records, turnable_corrected=LOW, turnable=Estimate(0.97, 0.9, 0.98), warm=HIGH, wells=HIGH)
    small.arms["warm", 2].agreement.coordinates = LOW
    assert "do not clearly reach" in (told := told_of.full_covariance(records)) and "cannot be told" in told
    assert "against the argument" in told_of.wells(records)


def test_what_still_falls_had_not_converged(records):
    def trained(losses):
        return dataclasses.replace(records, aftermath={2: SimpleNamespace(minus_elbo=np.array(losses))})

    assert "−ELBO still falls" in told_of.unconverged(trained([[3.0, 3.1, 3.2], [2.0, 2.1, 2.2]]))
    assert told_of.unconverged(trained([[3.0, 3.1, 3.2], [4.0, 4.1, 4.2]])) == ""


def test_another_start_is_told_of_only_if_it_gains_as_much(monkeypatch):
    def rows(first_layer):
        losses = {"plain": 25.0, "field": 24.5, "first layer": first_layer}
        found = [{"d": 2, "trainer": "vaept", "arm": name, "minus_elbo": [each]} for name, each in losses.items()]
        theirs = {"plain": 24.5, "field": 24.4}
        found += [{"d": 2, "trainer": "other", "arm": name, "minus_elbo": [each]} for name, each in theirs.items()]
        return lambda name: {"rows": found, "epochs": 60}

    monkeypatch.setattr(benchmarks, "results", rows(24.4))
    assert "without a field: 0.60 at d = 2 (nats); a field 0.50 at d = 2" in told_of.other_start()
    assert told_of.other_start().endswith("a field gains 0.10 at d = 2.")
    monkeypatch.setattr(benchmarks, "results", rows(24.8))
    assert told_of.other_start() == ""

    def absent(name):
        raise FileNotFoundError

    monkeypatch.setattr(benchmarks, "results", absent)
    assert told_of.other_start() == ""


def test_a_second_split_of_the_images_is_told_where_its_fields_agree_otherwise(records):
    lab = records.labs[0]
    labs = [dataclasses.replace(lab, arm=name) for name in ("cold", "principal", "corrected")]
    fields = {"principal": {"halves": [0.94, 0.5]}, "neighbour": {"halves": [0.94, 0.93]}}
    told = told_of.one_split(dataclasses.replace(records, labs=labs, fields=fields))
    assert told.startswith("Only one split") and told.endswith("(principal components: 0.50 instead of 0.94).")
    assert told_of.one_split(dataclasses.replace(records, labs=labs[:1], fields=fields)) == ""
