import numpy as np
import pytest

from vaept.errors import InputError
from vaept.uses.member import Member, encode


def test_holds_the_posteriors_of_its_own_model(member, ensemble, digits):
    mean, variance = ensemble.posterior(digits.test)
    np.testing.assert_allclose(member.test_mean, mean[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(member.test_variance, variance[0], rtol=1e-5)
    assert len(member.mean) == len(digits.train) and member.mean.dtype == float


def test_decodes_to_images(member, ensemble):
    z = member.mean[:3]
    np.testing.assert_allclose(member.decode(z), ensemble.decode(z)[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="latents must have shape"):
        member.decode(z[:, :1])


def test_blurs_its_aggregate_posterior_equally(member):
    extra = member.aggregate.variance - member.variance
    np.testing.assert_allclose(extra, extra[0, 0], rtol=1e-6)
    assert extra[0, 0] > 0
    np.testing.assert_allclose(member.energy(member.mean[:4]), -member.aggregate.log_density(member.mean[:4]))


def test_its_lowest_level_is_the_ground_state(member):
    levels = member.modes(3).levels
    assert levels[0] == 0 and (np.diff(levels) > 0).all()


@pytest.mark.parametrize("number", [3, -1, "first"])
def test_a_missing_member_is_named(ensemble, digits, number):
    with pytest.raises(InputError, match="number must be an integer from 0 to 2"):
        Member.of(ensemble, number, digits)


def test_images_are_checked(ensemble):
    with pytest.raises(InputError, match="images must"):
        encode(ensemble.members[0], np.full((2, 64), np.nan))
