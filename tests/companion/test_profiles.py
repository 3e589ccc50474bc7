import pytest

from vaept.companion.profiles import arm, profile, profiles
from vaept.errors import InputError
from vaept.perturbation.potentials import Schedule


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
