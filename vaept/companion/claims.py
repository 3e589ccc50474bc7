"""The claims of the paper's abstract, and the checks that settle each: a quantity, its threshold, and its control.

A claim has a function that yields its checks for a latent dimension d, from `vaept.companion.records.Records` alone.
Thresholds were written before the run. `vaept.companion.ledger` goes through all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vaept.companion.verdicts import (
    INTERVAL_ABOVE_0,
    INTERVAL_BELOW_0,
    Check,
    at_least,
    at_most,
    below,
    interval_below,
    provided,
    within,
)
from vaept.spectrum import from_samples
from vaept.spectrum.oscillator import energy, kl_bound
from vaept.uses.denoising import NOISES
from vaept.vae.agreement import Estimate, compare, mean_over_members, shuffled_rows

# Least coordinate agreement of corrected members, and how many nats they must be better than the warm-start control.
AGREEMENT = {("mnist", 2): 0.97, ("mnist", 8): 0.98}
GAIN = {("mnist", 2): 2.5}
CHANCE = 0.3
RAND_INDEX = 0.5
PRECISION = 0.5
NOISE = 0.5  # at which denoising is judged


@dataclass(frozen=True)
class Claim:
    """A statement of the abstract and how it is tested.

    Attributes
    ----------
    id, statement, measured : str
        "C1" …, the statement in our words, and what is measured against what.
    checks : callable
        From `Records` and d to an iterable of `Check`.
    parts : tuple of str
        The parts of a study that its numbers come from: "training", "fields", "evaluation", names of measures, and
        what else `vaept.uses.measure.left_out` may name.
    """

    id: str
    statement: str
    measured: str
    checks: Callable
    parts: tuple

    def of(self, records):
        """Its checks for every latent dimension, which then stands in their keys and words: a list of `Check`."""
        return [
            replace(check, key=f"{check.key}, d = {d}", quantity=f"{check.quantity}, d = {d}")
            for d in records.latent_dims
            for check in self.checks(records, d)
        ]


def degenerate(records, d):
    """C1: seeds reach the same −ELBO in different coordinates."""
    record = records.arms["cold", d]
    loss, spread = record.minus_elbo.mean(), record.minus_elbo.std(ddof=1)
    shuffled = compare(shuffled_rows(record.mean), n_bootstrap=1).linear.mean
    noise = np.random.default_rng(0).standard_normal((2, *record.mean[0].shape))
    itself = compare(record.mean[0] + record.deviation[0] * noise, n_bootstrap=1).coordinates.mean
    yield Check(
        "agreement",
        f"coordinate agreement of seeds with equal −ELBO ({_spread(record.minus_elbo)} nats)",
        record.agreement.coordinates,
        below(CHANCE) & interval_below(0.5) & provided("−ELBO within 2 %", spread < 0.02 * loss),
        f"a member with itself, sampled twice: {itself:.2f}; R² of a linear map with images shuffled: {shuffled:.2f}",
    )


def symmetric(records, d):
    """C2: the prior is an oscillator, and its symmetry is what sets seeds apart."""
    record = records.arms["cold", d]
    mean, variance = record.mean.astype(float), record.deviation.astype(float) ** 2
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(-1)
    share = (kl <= kl_bound(mean, variance) * (1 + 1e-6)).mean(axis=1)
    yield Check(
        "bound",
        "share of posteriors with KL ≤ 4⟨H₀⟩",
        mean_over_members(share),
        provided("= 1", (share == 1).all()),
        f"with 2⟨H₀⟩ instead: {(kl <= 2 * energy(mean, variance)).mean():.2f}",
    )
    yield Check(
        "rotation",
        "R² between seeds after the best rotation, the symmetry of the prior",
        record.agreement.orthogonal,
        at_least(0.9),
        f"images shuffled: {compare(shuffled_rows(record.mean), n_bootstrap=1).orthogonal.mean:.2f}",
    )


def spectral(records, d):
    """C3: seeds have the same levels."""
    record = records.arms["cold", d]
    members = list(zip(record.mean, record.deviation, strict=True))
    levels = np.stack([_levels(*member) for member in members])
    broken = np.stack([_levels(*member, shuffle=True) for member in members[:3]]).mean(axis=0)
    mean, spread = levels.mean(axis=0), levels.std(axis=0, ddof=1)
    worst = np.abs(broken - mean).argmax()
    yield Check(
        "levels",
        f"relative difference of the first {d} levels between seeds",
        mean_over_members((np.abs(levels - mean) / mean).mean(axis=1)),
        at_most(0.1),
        f"each coordinate shuffled on its own: off by {np.abs(broken - mean)[worst] / spread[worst]:.1f} times the "
        f"spread over seeds; coordinate agreement {record.agreement.coordinates.mean:.2f}",
    )


def _levels(mean, deviation, *, shuffle=False):
    """The first d excited levels of posterior samples, blurred by 0.3 as in chapter 4."""
    generator = np.random.default_rng(0)
    width = np.sqrt(deviation.astype(float) ** 2 + 0.3**2)
    repeats = -(-20_000 // len(mean))
    samples = np.concatenate([mean + width * generator.standard_normal(mean.shape) for _ in range(repeats)])
    if shuffle:
        samples = generator.permuted(samples, axis=0)
    return from_samples(samples, mean.shape[1] + 1, bootstrap=0).levels[1:]


def corrected(records, d):
    """C4: members that were trained in a field agree, for good, at no cost."""
    found, warm, cold, shuffled = (records.arms[name, d] for name in ("corrected", "warm", "cold", "shuffled"))
    controls = {"cold": cold, "warm": warm, "shuffled": shuffled}
    controls = {name: record.agreement.coordinates.mean for name, record in controls.items()}
    yield Check(
        "agreement",
        "coordinate agreement of corrected members",
        found.agreement.coordinates,
        at_least(AGREEMENT.get((records.data, d), 0.95))
        & provided(f"controls < {CHANCE}", max(controls.values()) < CHANCE),
        ", ".join(f"{name} {mean:.2f}" for name, mean in controls.items()),
    )
    yield Check(
        "warm",
        "−ELBO of corrected members minus that of the warm-start control, nats",
        mean_over_members(found.minus_elbo - warm.minus_elbo),
        at_most(-GAIN.get((records.data, d), 0)),
        f"warm {_spread(warm.minus_elbo)}",
    )
    yield Check(
        "cold",
        "−ELBO of corrected members minus that of the cold start, nats",
        mean_over_members(found.minus_elbo - cold.minus_elbo),
        at_most(0),
        f"cold {_spread(cold.minus_elbo)}",
    )
    if d in records.aftermath:
        series = records.aftermath[d]
        yield Check(
            "aftermath",
            f"coordinate agreement {series.values[-1]:g} epochs after the field is gone",
            series.coordinates[-1],
            at_least(0.97),
            f"at the start {series.coordinates[0].mean:.3f}",
        )
    if records.couplings is not None and d == records.couplings_dim:
        yield from _doses(records.couplings)


def _doses(series):
    exponent, used = cost_exponent(series)
    yield Check(
        "exponent",
        "power of λ with which the cost in nats grows",
        exponent,
        within(0.5, 2),
        f"fitted to {used.sum()} couplings" if used.sum() >= 3 else "no cost that could be fitted",
    )
    yield Check(
        "smallest",
        f"coordinate agreement at the smallest coupling, λ = {series.values[1]:g}",
        series.coordinates[1],
        at_least(0.9),
        f"λ = 0: {series.coordinates[0].mean:.2f}",
    )


def cost_exponent(series, *, n_bootstrap=1000, seed=0):
    """How the cost of a field in nats grows with its coupling: the slope in log-log of −ELBO(λ) − (−ELBO(0)).

    Fitted to the strongest couplings, down to the last whose mean cost exceeds twice its standard error over members,
    and to three at least.

    Parameters
    ----------
    series : vaept.companion.records.Series
        Its first value is λ = 0.

    Returns
    -------
    exponent : Estimate
        NaN if fewer than three couplings qualify.
    used : ndarray of bool, shape (k,)
        The couplings that did.
    """
    cost = series.minus_elbo - series.minus_elbo[0]
    members = cost.shape[1]
    clear = cost.mean(axis=1) > 2 * cost.std(axis=1, ddof=1) / np.sqrt(members)
    clear[0] = False
    used = np.logical_and.accumulate(clear[::-1])[::-1]
    if used.sum() < 3:
        return Estimate(np.nan, np.nan, np.nan), used
    rows = np.random.default_rng(seed).integers(members, size=(n_bootstrap, members))
    means = np.concatenate([cost[used].mean(axis=1)[:, None], cost[used][:, rows].mean(axis=2)], axis=1)
    kept = (means > 0).all(axis=0)
    slopes = np.polyfit(np.log(series.values[used]), np.log(means[:, kept]), 1)[0]
    low, high = np.percentile(slopes[1:], [2.5, 97.5])
    return Estimate(float(slopes[0]), float(low), float(high)), used


def topological(records, d):
    """C5: fields from the neighbour graph do better than a linear one."""
    linear = records.arms["principal", d]
    for name, title in (("diffusion", "diffusion field"), ("corrected", "neighbour field")):
        record = records.arms[name, d]
        agreement, other = (each.agreement.coordinates.mean for each in (record, linear))
        yield Check(
            name,
            f"−ELBO, {title} minus principal components, nats",
            mean_over_members(record.minus_elbo - linear.minus_elbo),
            INTERVAL_BELOW_0,
            f"coordinate agreement {agreement:.3f} against {other:.3f}",
        )


def interpreted(records, d):
    """C6: slow modes find the classes, and energies the outliers."""
    uses = records.arms["corrected", d].uses
    if "clustering" in uses:
        found = uses["clustering"]
        slow, means, mixture = (each.rand_index for each in (found.slow_modes, found.k_means, found.mixture))
        other, plain = (
            records.arms[name, d].uses["clustering"].slow_modes.rand_index.mean() for name in ("shuffled", "cold")
        )
        value = mean_over_members(slow)
        yield Check(
            "states",
            "adjusted Rand index of the slow modes' states and the classes, corrected members",
            value,
            at_least(RAND_INDEX) & provided("interval above the shuffled field's mean", value.low > other),
            f"classes dealt anew: {found.chance.rand_index.mean():.2f}; shuffled field: {other:.2f}; plain "
            f"members: {plain:.2f}",
        )
        yield Check(
            "k-means",
            "the same minus that of k-means on the same latents",
            mean_over_members(slow - means),
            INTERVAL_ABOVE_0,
            f"mixture of Gaussians minus k-means: {(mixture - means).mean():.2f}",
        )
    if "outliers" in uses:
        found = uses["outliers"]
        yield Check(
            "outliers",
            "precision at k of planted outliers by their energy, corrected members",
            mean_over_members(found.energy.every),
            at_least(PRECISION),
            f"chance {found.chance.mean():.2f}; by −ELBO {found.minus_elbo.every.mean():.2f}",
        )


def dynamic(records, d):
    """C7: walkers relax as the levels say, and lowest paths stay where the data are."""
    uses = records.arms["corrected", d].uses
    if not uses:
        return
    times, ways = uses["relaxation"], uses["paths"]
    control = times.gaussian.mean()
    yield Check(
        "relaxation",
        "slowest relaxation time of Langevin walkers divided by 1/level, corrected members",
        mean_over_members(times.spectrum[:, 0]),
        within(0.1, 1) & provided("control not", abs(control - 1) > 0.1),
        f"divided by the time of a Gaussian with the same covariance: {control:.2f}",
    )
    kinds = (ways.lowest, ways.straight, ways.mirrored)
    yield _along(
        "energy",
        "mean free energy along lowest paths minus along straight lines, kT",
        [each.energy for each in kinds],
        INTERVAL_BELOW_0,
    )
    if records.labels is not None and "classifier" not in records.left_out:
        words = "share of decoded images that a classifier is sure about, the same difference"
        yield _along("sure", words, [each.sure for each in kinds], INTERVAL_ABOVE_0)


def _along(what, words, numbers, threshold):
    lowest, straight, mirrored = numbers
    control = "no member has two minima with a barrier between them"
    if members := np.isfinite(straight).sum():
        mean = np.nanmean(mirrored - straight)
        control = f"mirrored paths minus straight lines: {mean:.2f}; {members} members have paths"
    value = mean_over_members(lowest - straight)
    return Check(f"paths {what}", f"{words}, corrected members", value, threshold, control)


def used(records, d):
    """C8: the models denoise, cluster and generate, corrected ones no worse."""
    arms = {name: records.arms[name, d] for name in ("corrected", "cold", "warm", "shuffled")}
    found, plain = arms["corrected"], arms["cold"]
    if not found.uses:
        return
    yield from _denoising(found.uses["denoising"], plain.uses["denoising"], "filters" not in records.left_out)
    if "clustering" in found.uses:
        mine, theirs, *others = (each.uses["clustering"].k_means.rand_index for each in arms.values())
        yield Check(
            "clustering",
            "adjusted Rand index of k-means and classes, corrected minus plain members",
            mean_over_members(mine - theirs),
            INTERVAL_ABOVE_0,
            "plain {:.2f}, warm {:.2f}, shuffled {:.2f}".format(*(each.mean() for each in (theirs, *others))),
        )
    if "generation" in found.uses:
        yield from _generation(found.uses["generation"], plain.uses["generation"])
    yield Check(
        "likelihood",
        "importance-weighted log p(x), corrected minus plain members, nats",
        mean_over_members(found.log_likelihood - plain.log_likelihood),
        INTERVAL_ABOVE_0,
        f"plain {_spread(plain.log_likelihood)}",
    )


def _denoising(own, plain, filters):
    at = NOISES.index(NOISE)
    model, wavelet, theirs = (each.psnr[:, at] for each in (own.model, own.wavelet, plain.model))
    if filters:
        yield Check(
            "wavelets",
            f"PSNR of denoised images minus that of wavelets, noise {NOISE}, dB, corrected members",
            mean_over_members(model - wavelet),
            INTERVAL_ABOVE_0,
            f"noisy {own.noisy.psnr[:, at].mean():.1f}, median filter {own.median.psnr[:, at].mean():.1f}, wavelets "
            f"{wavelet.mean():.1f} dB",
        )
    yield Check(
        "denoising",
        f"PSNR of denoised images, noise {NOISE}, corrected minus plain members, dB",
        mean_over_members(model - theirs),
        INTERVAL_ABOVE_0,
        f"plain {theirs.mean():.1f} dB; encoder alone {own.encoder.psnr[:, at].mean():.1f} dB",
    )


def _generation(own, plain):
    draws, theirs = own.aggregate_posterior, plain.aggregate_posterior
    yield Check(
        "draws over prior",
        "Fréchet distance of draws from the aggregate posterior minus that of the prior, corrected members",
        mean_over_members(draws.frechet - own.prior.frechet),
        INTERVAL_BELOW_0,
        f"the same of plain members {(theirs.frechet - plain.prior.frechet).mean():.1f}; Langevin minus prior "
        f"{(own.langevin.frechet - own.prior.frechet).mean():.1f}",
    )
    yield Check(
        "draws over plain",
        "Fréchet distance of draws from the aggregate posterior, corrected minus plain members",
        mean_over_members(draws.frechet - theirs.frechet),
        INTERVAL_BELOW_0,
        f"plain {theirs.frechet.mean():.1f}, training images {own.images.frechet.mean():.1f}; recall "
        f"{draws.recall.mean():.2f} against {theirs.recall.mean():.2f}",
    )


def _spread(values):
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


CLAIMS = (
    Claim(
        "C1",
        "Converged models can differ significantly: the latent space is degenerate.",
        "Correlation of equal-numbered coordinates between seeds of one architecture with equal ELBO.",
        degenerate,
        ("training", "evaluation"),
    ),
    Claim(
        "C2",
        "A relation between physics and machine learning explains it.",
        "The prior as an oscillator bounds the KL divergence; its symmetry, all rotations, is what sets seeds apart.",
        symmetric,
        ("training", "evaluation"),
    ),
    Claim(
        "C3",
        "The embedding, as a generative distribution, maps to functions and an energy spectrum.",
        "Levels of the aggregate posterior: the same for all seeds, although the coordinates differ.",
        spectral,
        ("training", "evaluation"),
    ),
    Claim(
        "C4",
        "Optimising a perturbed Hamiltonian corrects the degeneracy.",
        "Coordinate agreement and −ELBO of members trained in a field that is gone at the end; how long it lasts; the "
        "order of its effect in λ.",
        corrected,
        ("training", "fields", "evaluation"),
    ),
    Claim(
        "C5",
        "The potential is related to the unobserved topology of the data.",
        "Fields from the neighbour graph of the images against a linear field, everything else equal.",
        topological,
        ("training", "fields", "evaluation"),
    ),
    Claim(
        "C6",
        "Spectra help to interpret the latent space and the generative process.",
        "Metastable states of the slow eigenfunctions against the classes, which training never saw; the energy of a "
        "data point against how unusual it is.",
        interpreted,
        ("training", "fields", "clustering", "outliers"),
    ),
    Claim(
        "C7",
        "The energy landscapes serve for modelling and dynamics.",
        "Relaxation of Langevin walkers against the levels; lowest paths between minima against straight lines.",
        dynamic,
        ("training", "fields", "relaxation", "bracket", "paths", "detours", "classifier"),
    ),
    Claim(
        "C8",
        "The models are used for denoising, clustering and generation.",
        "Whether each use works, and whether the correction brings or costs anything at the same budget.",
        used,
        ("training", "fields", "evaluation", "denoising", "filters", "clustering", "generation"),
    ),
)
