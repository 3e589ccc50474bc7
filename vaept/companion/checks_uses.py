"""The checks of C6 to C9: what models are good for, plain and corrected.

Each function takes `vaept.companion.records.Records` and a latent dimension d, and yields a `Check` for each number
that the records have. The numbers in the rules: RAND_INDEX and PRECISION are half of what is perfect; RELAXED is a
tenth of the time.
"""

import numpy as np

from vaept.companion.checks import Check, above, at_least, at_most, below, within
from vaept.companion.markdown import mean_and_spread
from vaept.uses.denoising import NOISES
from vaept.uses.modes import between_members
from vaept.vae.agreement import mean_over_members

RAND_INDEX, PRECISION = 0.5, 0.5
RELAXED = 0.1
CHEAP = 0.1  # of what an exchange costs without a field
LOST = 0.05  # of accuracy, or of R²
NOISE = 0.5  # at which denoising is judged


def _in_use(records, d, arm="corrected"):
    """What the members of an arm are worth in use; {} where they were not measured."""
    return records.arms[arm, d].uses if (arm, d) in records.arms else {}


def interpreted(records, d):
    """C6: slow modes find the classes, and energies the outliers."""
    uses = _in_use(records, d)
    if "clustering" in uses:
        found = uses["clustering"]
        slow, means, mixture = (each.rand_index for each in (found.slow_modes, found.k_means, found.mixture))
        other, plain = (
            _in_use(records, d, name)["clustering"].slow_modes.rand_index.mean() for name in ("shuffled", "cold")
        )
        yield Check(
            "states",
            "Rand index, slow modes and classes",
            "adjusted",
            mean_over_members(slow),
            at_least(RAND_INDEX),
            f"classes dealt anew {found.chance.rand_index.mean():.2f}, shuffled field {other:.2f}, plain {plain:.2f}",
            d=d,
        )
        yield Check(
            "k-means",
            "Rand index, slow modes minus k-means",
            "adjusted",
            mean_over_members(slow - means),
            above(0),
            f"mixture of Gaussians minus k-means {(mixture - means).mean():.2f}",
            d=d,
        )
    if "modes" in uses:
        yield from _modes(uses["modes"], d)
    if "outliers" in uses:
        found = uses["outliers"]
        yield Check(
            "outliers",
            "planted outliers found by their energy",
            "precision",
            mean_over_members(found.energy.every),
            at_least(PRECISION),
            f"chance {found.chance.mean():.2f}; by −ELBO {found.minus_elbo.every.mean():.2f}",
            d=d,
        )


def _modes(found, d):
    """What modes of the neighbour graph tell beside positions; the walk is another motion than Langevin's."""
    index, few, between = found.rand_index, found.few_labels, found.groups
    states = {name: between_members(getattr(between, name)) for name in ("walk", "latents")}
    rows = {
        "walk": ("Rand index, walk modes minus k-means", "adjusted", index.walk - index.latents),
        "generator": ("Rand index, generator modes minus k-means", "adjusted", index.generator - index.latents),
        "spectrum": ("Rand index, spectrum modes minus k-means", "adjusted", index.spectrum - index.latents),
        "few labels": ("five labels a class, modes minus latents", "accuracy", few.walk - few.latents),
        "seeds": ("Rand between seeds, modes minus k-means", "adjusted", states["walk"] - states["latents"]),
    }
    louvain = f"Louvain {found.louvain.mean():.2f}, modes between images {index.image_walk.mean():.2f}"
    controls = {
        "walk": f"walk {index.walk.mean():.2f}, {louvain}",
        "spectrum": f"spectrum {index.spectrum.mean():.2f}, the same functions as in the first row, read otherwise",
        "generator": f"generator {index.generator.mean():.2f}, mixture {found.mixture.mean():.2f}",
        "few labels": f"modes {few.walk.mean():.2f}, latents {few.latents.mean():.2f}, images {few.images.mean():.2f}",
        "seeds": f"modes {states['walk'].mean():.2f}, k-means {states['latents'].mean():.2f}",
    }
    for key, (words, unit, values) in rows.items():
        yield Check(key, words, unit, mean_over_members(values), above(0), controls[key], d=d)


def dynamic(records, d):
    """C7: walkers relax as the levels say, and lowest paths stay where the data are."""
    uses = _in_use(records, d)
    if "relaxation" in uses:
        times = uses["relaxation"]
        yield Check(
            "relaxation",
            "walkers' slowest time times lowest level",
            "",
            mean_over_members(times.spectrum[:, 0]),
            within(RELAXED, 1),
            f"over the time of a Gaussian of equal covariance {times.gaussian.mean():.2f}",
            d=d,
        )
    if "bracket" in uses:
        quotient, upper, lower = (getattr(uses["bracket"], name)[:, 0] for name in ("quotient", "upper", "lower"))
        yield Check(
            "trial functions",
            "level by trial functions over walkers'",
            "",
            mean_over_members(quotient / upper),
            within(RELAXED, 1),
            f"walkers' rate, an upper bound, {upper.mean():.3f}",
            d=d,
        )
        yield Check(
            "bracket",
            "lower over upper bound of level",
            "",
            mean_over_members(lower / upper),
            at_least(1 - RELAXED),
            f"bounds {lower.mean():.3f} and {upper.mean():.3f}"
            + ("; above 1 they cross: they are near, and certify nothing" if (lower / upper).mean() > 1 else ""),
            d=d,
        )
    if "detours" in uses:
        found = uses["detours"]
        lower = np.nanmean(found.lower) if np.isfinite(found.lower).any() else np.nan
        yield Check(
            "detours",
            "energy, lowest minus equally long paths",
            "kT",
            mean_over_members(found.lowest - found.energy),
            below(0),
            f"share of random paths that are lower {lower:.2f}",
            d=d,
        )
    if "paths" in uses:
        kinds = (uses["paths"].lowest, uses["paths"].straight, uses["paths"].mirrored)
        yield _along(
            "energy", "energy, lowest path minus straight line", "kT", [each.energy for each in kinds], below(0), d
        )
        if records.labels is not None and "classifier" not in records.left_out:
            words = "sure images, lowest minus straight"
            yield _along("sure", words, "share", [each.sure for each in kinds], above(0), d)


def _along(what, words, unit, numbers, threshold, d):
    lowest, straight, mirrored = numbers
    control = "no member has two minima with a barrier between them"
    if members := np.isfinite(straight).sum():
        mean = np.nanmean(mirrored - straight)
        control = f"mirrored paths minus straight lines {mean:.2f}; {members} members have paths"
    value = mean_over_members(lowest - straight)
    return Check(f"paths {what}", words, unit, value, threshold, control, d=d)


def used(records, d):
    """C8: the models denoise, cluster and generate, corrected ones better."""
    uses = _in_use(records, d)
    plain = _in_use(records, d, "cold")
    if not uses:
        return
    yield from _denoising(uses["denoising"], plain["denoising"], "filters" not in records.left_out, d)
    baselines = records.baselines.get(d)
    if baselines:
        yield _autoencoder(uses["denoising"], baselines.denoising, d)
    if "clustering" in uses:
        yield from _clustering(records, baselines and baselines.clustering, d)
    if "generation" in uses:
        yield from _generation(uses["generation"], plain["generation"], d)
        if "mixture" in uses:
            draws = uses["mixture"].draws.frechet
            yield Check(
                "mixture",
                "Fréchet distance, Langevin minus latent mixture",
                "",
                mean_over_members(uses["generation"].langevin.frechet - draws),
                below(0),
                f"mixture of Gaussians on the latents {draws.mean():.1f}"
                + _other_generators(baselines and baselines.generation),
                d=d,
            )
    plain = records.arms["cold", d]
    found, theirs = records.arms["corrected", d].log_likelihood, plain.log_likelihood
    yield Check(
        "likelihood",
        "log p(x), corrected minus plain",
        "nats",
        mean_over_members(found - theirs),
        above(0),
        f"plain {mean_and_spread(theirs)}, ELBO of these images {-plain.minus_elbo_of_these.mean():.2f}",
        d=d,
    )


def _clustering(records, without, d):
    """Partitions of latents by k-means; `without` has those of pixels and components, or is None."""
    mine, theirs, *others = (
        _in_use(records, d, name)["clustering"].k_means.rand_index for name in ("corrected", "cold", "warm", "shuffled")
    )
    yield Check(
        "clustering",
        "k-means Rand index, corrected minus plain",
        "adjusted",
        mean_over_members(mine - theirs),
        above(0),
        "plain {:.2f}, warm {:.2f}, shuffled {:.2f}".format(*(each.mean() for each in (theirs, *others))),
        d=d,
    )
    if without:
        pixels, components = (getattr(without, name).rand_index.mean() for name in ("pixels", "principal"))
        yield Check(
            "pixels",
            "k-means Rand index, latents minus pixels",
            "adjusted",
            mean_over_members(mine - pixels),
            above(0),
            f"pixels {pixels:.2f}, {d} principal components {components:.2f}",
            d=d,
        )


def _denoising(own, plain, filters, d):
    at = NOISES.index(NOISE)
    model, wavelet, theirs = (each.psnr[:, at] for each in (own.model, own.wavelet, plain.model))
    if filters:
        yield Check(
            "wavelets",
            f"denoising, noise {NOISE}, minus wavelets",
            "dB",
            mean_over_members(model - wavelet),
            above(0),
            f"noisy {own.noisy.psnr[:, at].mean():.1f}, median filter {own.median.psnr[:, at].mean():.1f}, wavelets "
            f"{wavelet.mean():.1f}",
            d=d,
        )
    yield Check(
        "denoising",
        f"denoising, noise {NOISE}, minus plain",
        "dB",
        mean_over_members(model - theirs),
        above(0),
        f"plain {theirs.mean():.1f}; encoder alone {own.encoder.psnr[:, at].mean():.1f}",
        d=d,
    )


def _autoencoder(own, baselines, d):
    at = NOISES.index(NOISE)
    others = {
        "its size": baselines.autoencoder,
        f"{d} principal components": baselines.principal,
        "best number of them": baselines.principal_best,
        "nearest training image": baselines.nearest,
    }
    others = {name: each.psnr[:, at].mean() for name, each in others.items()}
    return Check(
        "autoencoder",
        f"denoising, noise {NOISE}, minus denoising autoencoder",
        "dB",
        mean_over_members(own.model.psnr[:, at] - others["its size"]),
        above(0),
        ", ".join(f"{name} {each:.1f}" for name, each in others.items()),
        d=d,
    )


def _other_generators(found):
    if not found:
        return ""
    return f", on principal components {found.mixture.frechet.mean():.1f}, training images with noise " + (
        f"{found.windows.frechet.mean():.1f}"
    )


def _generation(own, plain, d):
    draws, theirs = own.aggregate_posterior, plain.aggregate_posterior
    yield Check(
        "draws over prior",
        "Fréchet distance, aggregate minus prior draws",
        "",
        mean_over_members(draws.frechet - own.prior.frechet),
        below(0),
        f"of plain members {(theirs.frechet - plain.prior.frechet).mean():.1f}; Langevin minus prior "
        f"{(own.langevin.frechet - own.prior.frechet).mean():.1f}",
        d=d,
    )
    yield Check(
        "draws over plain",
        "Fréchet distance, corrected minus plain",
        "",
        mean_over_members(draws.frechet - theirs.frechet),
        below(0),
        f"plain {theirs.frechet.mean():.1f}, training images {own.images.frechet.mean():.1f}; recall "
        f"{draws.recall.mean():.2f} against {theirs.recall.mean():.2f}",
        d=d,
    )


def exchanged(records, d):
    """C9: what is learned on one member's latents holds on another's."""
    own, plain = (records.interchange.get(arm, {}).get(d) for arm in ("corrected", "cold"))
    if own is None:
        return
    costs = [of_others(each.above_own) for each in (own, plain)]
    yield Check(
        "nats",
        "cost of exchange, corrected over plain",
        "",
        mean_over_members(costs[0] / costs[1].mean()),
        at_most(CHEAP),
        f"corrected {costs[0].mean():.2f}, plain {costs[1].mean():.2f} nats; another image's latents, "
        f"corrected {(own.nats_by_chance - np.diagonal(own.nats)).mean():.1f} nats",
        d=d,
    )
    if own.classifier is not None:
        lost, lost_plain = (of_others(each.classifier - np.diagonal(each.classifier)) for each in (own, plain))
        yield Check(
            "classifier",
            "classifier elsewhere minus at home",
            "accuracy",
            mean_over_members(lost),
            at_least(-LOST),
            f"at home {np.diagonal(own.classifier).mean():.2f}, by chance {own.classifier_by_chance:.2f}; plain "
            f"{lost_plain.mean():.2f}",
            d=d,
        )
    if own.probes:
        lost, lost_plain = (of_others(_probes(each) - np.diagonal(_probes(each))) for each in (own, plain))
        yield Check(
            "probes",
            "linear probes elsewhere minus at home",
            "R²",
            mean_over_members(lost),
            at_least(-LOST),
            f"at home {np.diagonal(_probes(own)).mean():.2f} ({', '.join(own.probes)}); plain {lost_plain.mean():.2f}",
            d=d,
        )


def of_others(matrix):
    """The mean of each row without the diagonal, shape (members,)."""
    return (matrix.sum(axis=1) - np.diagonal(matrix)) / (len(matrix) - 1)


def _probes(found):
    return np.mean(list(found.probes.values()), axis=0)
