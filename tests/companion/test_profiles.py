import dataclasses

import pytest

from vaept.companion.profiles import Arm, arm, profile, profiles
from vaept.companion.study import open_study
from vaept.errors import InputError
from vaept.perturbation.potentials import Schedule
from vaept.vae.ensemble import Seed


def test_profiles_are_those_that_the_readme_names():
    assert list(profiles()) == ["quick", "digits", "mnist", "cells"]
    assert profile("digits").members == profile("mnist").members == 10
    assert profile("mnist").latent_dims == (2, 8) and profile("digits").dataset == "digits"


def test_unknown_names_name_the_known():
    with pytest.raises(InputError, match='"fast": choose one of quick, digits, mnist, cells'):
        profile("fast")
    with pytest.raises(InputError, match='"hot": choose one of cold, warm'):
        arm("hot")


@pytest.mark.parametrize("name", profiles())
def test_every_arm_of_a_profile_exists_and_the_first_is_the_plain_model(name):
    chosen = profile(name)
    arms = [arm(each) for each in chosen.arms]
    assert not arms[0].perturbed and not arms[0].warm_start
    assert {"warm", "shuffled", "principal", "diffusion", "corrected"} <= set(chosen.arms)
    Schedule.of(chosen.schedule)
    assert chosen.couplings_dim in chosen.latent_dims and max(chosen.aftermath) > 0


SHARING = ("cold", "same_weights", "same_order", "same_noise", "vary_weights", "vary_order", "vary_noise")


@pytest.mark.parametrize("name", ["digits", "cells"])
def test_the_price_list_varies_every_source_of_randomness_with_and_without_the_others(name):
    assert set(SHARING) <= set(profile(name).prices)
    varied = {frozenset({"weights", "order", "noise"} - set(arm(each).shared)) for each in SHARING}
    assert len(varied) == 7 and not any(arm(each).perturbed or arm(each).warm_start for each in SHARING)
    assert arm("vary_order").seed(7) == Seed(0, 7, 0) and arm("cold").seed(7) == Seed(7, 7, 7)


def test_what_an_arm_follows_of_a_schedule():
    whole = {"warm_start": 0.1, "fade": 0.1, "switch_off": 0.4}
    found = {name: arm(name).schedule(whole) for name in ("cold", "warm", "short_warm", "corrected")}
    expected = {"cold": {}, "warm": {"warm_start": 0.1}, "short_warm": {"warm_start": 0.1 * 0.2}, "corrected": whole}
    assert found == expected
    assert arm("start_3").schedule(whole) == {"warm_start": 0.1, "switch_off": 0.03}
    assert arm("principal_kept").schedule(whole) == {"warm_start": 0.1}


def test_runs_of_a_price_list_come_after_what_tunes_them():
    chosen = dataclasses.replace(profile("quick"), further_dims=(6,), further_dims_arms=("principal",))
    runs = chosen.runs()
    places = list(dict.fromkeys(run.place for run in runs))
    assert places == ["arms", "doses", "aftermath", "tuning", "prices", "labs", "lengths"]
    assert {(run.arm, run.latent_dim) for run in runs if run.place == "tuning" if run.validation} == {
        (name, d) for name in ("principal", "start_10") for d in (2, 4)
    } | {("principal", 6)}
    labs = [run for run in runs if run.place == "labs"]
    assert [run.lab for run in labs] == [0, 1] * 5 and {run.first for run in labs} == {0, 1000}
    assert [run.epochs for run in runs if run.place == "lengths"] == [20, 20, 40, 40]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shared": ("luck",)}, "none of weights, order, noise"),
        ({"shared": ("noise", "order", "weights")}, "would be the same"),
        ({"own_field": True, "field": "principal"}, "own fields"),
        ({"start": 0.1}, "needs a field"),
        ({"start": 1.0, "field": "principal"}, "start below 1"),
        ({"switch_off": False, "field": "shuffled"}, "no new images"),
    ],
)
def test_arms_that_cannot_be_trained(change, message):
    with pytest.raises(InputError, match=message):
        Arm("odd", "an odd arm", **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prices": ("hot",)}, 'Unknown arm "hot"'),
        ({"labs_members": 1}, "labs_members, two at least"),
        ({"labs": ("neighbour_each",)}, "Two labs cannot be made of neighbour_each"),
        ({"tuning": {"couplings": [1.0]}}, "needs couplings, members and epochs"),
        ({"further_dims": (6,), "further_dims_arms": ("wells",)}, "must be among its prices or labs"),
    ],
)
def test_profiles_that_cannot_be_carried_out(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(profile("quick"), **change)


def test_a_profile_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "digits"\nmembers = 4\nlatent_dims = [2, 6]\ncouplings_dim = 6\nprices = []\n', "utf-8")
    mine = profile(str(path))
    assert (mine.name, mine.members, mine.latent_dims, mine.prices) == ("mine", 4, (2, 6), ())
    expected = dataclasses.replace(
        profile("digits"), name="mine", members=4, latent_dims=(2, 6), couplings_dim=6, prices=()
    )
    assert mine == expected
    assert open_study(path, store=tmp_path / "runs").source == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("members = ", "cannot be read as a profile"),
        ('base = "large"', 'Unknown profile "large"'),
        ("seeds = 3", "has seeds; a profile has base, dataset"),
        ('name = "other"', "has name; a profile has base"),
        ('members = "ten"', "is no profile: .*members"),
        ("members = 1", "members of .* must be at least 2|members"),
        ("epochs = 0", "epochs"),
        ("learning_rate = -1.0", "learning_rate"),
        ("latent_dims = [3]", "couplings_dim among them"),
        ('arms = ["cold"]', "lack corrected"),
        ('arms = ["cold", "hot"]', 'Unknown arm "hot"'),
        ("schedule = { warm_start = 2.0 }", "warm_start"),
    ],
)
def test_a_profile_of_ones_own_is_refused_before_anything_is_trained(text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        profile(path)


def test_a_profile_of_ones_own_has_a_name_of_its_own(tmp_path):
    (tmp_path / "digits.toml").write_text("members = 4", "utf-8")
    with pytest.raises(InputError, match="call it something else"):
        profile(tmp_path / "digits.toml")
    with pytest.raises(InputError, match="cannot be read as a profile"):
        profile(tmp_path / "absent.toml")
