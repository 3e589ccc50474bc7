"""What it costs to turn a latent space whose posteriors are diagonal: foretold by their variances, and measured.

A decoder can take a rotation back, and the prior does not feel it: turned by R, a model is as good as before, but for
one thing. The turned posteriors are not diagonal, and the best diagonal ones are KL(diagonal ‖ turned) worse: half the
sum of the logarithms of the old variances less those of the new, in nats. Nothing is lost where two coordinates are
equally sharp, or at quarter turns, which are signed permutations.
"""

from dataclasses import dataclass

import numpy as np

from vaept.uses.member import Member, Numbers
from vaept.vae.agreement import turned_posterior
from vaept.vae.evaluation import turned_elbo

ANGLES = np.pi * np.arange(1, 12) / 12  # of the first two coordinates
IMAGES = 500
SAMPLES = 16


@dataclass(frozen=True)
class Turning:
    """The cost at each of `ANGLES`, nats per image: from the posterior variances alone, and of the turned model."""

    foretold: Numbers
    measured: Numbers


def measure(member: Member) -> "Turning":
    """The `Turning` of a member; of no cost with one coordinate, which cannot be turned."""
    mean, variance = member.test_mean[:IMAGES].astype(float), member.test_variance[:IMAGES].astype(float)
    if mean.shape[1] < 2:
        return Turning(np.zeros(len(ANGLES)), np.zeros(len(ANGLES)))
    images, foretold, elbos = member.test[:IMAGES], [], []
    for angle in (0.0, *ANGLES):
        rotation, turned_mean, turned = turned_posterior(mean, variance, angle)
        foretold.append(0.5 * (np.log(variance).sum(axis=1) - np.log(turned).sum(axis=1)).mean())
        how = {"n_samples": SAMPLES, "seed": member.seed}
        elbos.append(turned_elbo(member.model, images, turned_mean, turned, rotation, **how))  # type: ignore[arg-type]
    return Turning(np.array(foretold[1:]), elbos[0] - np.array(elbos[1:]))
