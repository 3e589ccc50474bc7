"""The checks of C1 to C5: what training makes of seeds, symmetries and fields.

Each function takes `vaept.companion.records.Records` and a latent dimension d, and yields a `Check` for each number
that the records have. One rule holds for every data set and every d. The numbers in the rules:

AGREED: coordinates that correlate to 0.95 share nine tenths of their variance; two labs and long trainings are asked
for LASTING. DIFFERENT: seeds whose coordinates still correlate to 0.9 after the best flips and swaps would count as the
same. UNRELATED: below 0.3 coordinates share less than a tenth. SAME_LEVELS, TURNING: a tenth, a quarter of the value.
"""

import itertools

import numpy as np

from vaept.companion.checks import Check, above, at_least, at_most, below, within
from vaept.companion.markdown import mean_and_spread, shown
from vaept.spectrum import from_samples
from vaept.spectrum.oscillator import energy, kl_bound
from vaept.vae.agreement import Estimate, compare, mean_over_members, shuffled_rows
from vaept.vae.pairs import compare_aligned

AGREED, LASTING, DIFFERENT, UNRELATED = 0.95, 0.97, 0.9, 0.3
EQUAL_LOSS = 0.02  # standard deviation of −ELBO over seeds, as a share of the mean
SAME_LEVELS, HALF = 0.1, 0.5
TURNING = 0.25
POWER = 0.5
LAB = "subspace"  # the arm whose two labs are judged; the others stand beside it
BROKEN = 3  # members whose levels are taken with shuffled coordinates


def degenerate(records, d):
    """C1: seeds reach the same −ELBO in coordinates that differ by more than flips and swaps."""
    if ("cold", d) not in records.arms:
        return
    record = records.arms["cold", d]
    loss, spread = record.minus_elbo.mean(), record.minus_elbo.std(ddof=1)
    noise = np.random.default_rng(0).standard_normal((2, *record.mean[0].shape))
    itself = compare(record.mean[0] + record.deviation[0] * noise, n_bootstrap=1).signed_permutation.mean
    yield Check(
        "permuted",
        "agreement after best signed permutation",
        "",
        record.agreement.signed_permutation,
        below(DIFFERENT),
        f"one member sampled twice {itself:.2f}; after the best rotation, R² {record.agreement.orthogonal.mean:.2f}",
        d=d,
    )
    yield Check(
        "raw",
        "agreement of raw coordinates",
        "",
        record.agreement.coordinates,
        below(UNRELATED),
        f"images shuffled {compare(shuffled_rows(record.mean), n_bootstrap=1).coordinates.mean:.2f}",
        "sanity",
        d,
    )
    yield Check(
        "loss",
        "spread of −ELBO over seeds",
        "share",
        exactly(spread / abs(loss)),
        at_most(EQUAL_LOSS),
        f"−ELBO {mean_and_spread(record.minus_elbo)} nats",
        "sanity",
        d,
    )
    for what in ("weights", "order", "noise"):
        if price := records.price(f"same_{what}", d):
            yield Check(
                f"same {what}",
                f"permuted agreement, equal {'batch ' * (what == 'order')}{what}",
                "",
                price.signed_permutation,
                below(DIFFERENT),
                f"raw {price.coordinates.mean:.2f}; nothing equal {record.agreement.signed_permutation.mean:.2f}",
                d=d,
            )


def symmetric(records, d):
    """C2: the prior is an oscillator, and its symmetry is what sets seeds apart."""
    if ("cold", d) not in records.arms:
        return
    record = records.arms["cold", d]
    mean, variance = record.mean.astype(float), record.deviation.astype(float) ** 2
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(-1)
    share = (kl <= kl_bound(mean, variance) * (1 + 1e-6)).mean()
    yield Check(
        "bound",
        "posteriors with KL ≤ 4⟨H₀⟩",
        "share",
        exactly(share),
        at_least(1),
        f"share with KL ≤ 2⟨H₀⟩ {(kl <= 2 * energy(mean, variance)).mean():.2f}",
        "theorem",
        d,
    )
    yield Check(
        "rotation",
        "R² after the best rotation",
        "",
        record.agreement.orthogonal,
        at_least(DIFFERENT),
        f"images shuffled {compare(shuffled_rows(record.mean), n_bootstrap=1).orthogonal.mean:.2f}; any linear map "
        f"{record.agreement.linear.mean:.2f}",
        d=d,
    )
    if "turning" in record.uses:
        turning = record.uses["turning"]
        ratio = turning.foretold.mean(axis=1) / turning.measured.mean(axis=1)
        yield Check(
            "turning",
            "cost of turning, foretold over measured",
            "",
            mean_over_members(ratio),
            within(TURNING, 1),
            f"measured, mean over angles {turning.measured.mean():.2g} nats",
            d=d,
        )


def spectral(records, d):
    """C3: seeds have the same levels, and what is not the same density does not."""
    if ("cold", d) not in records.arms:
        return
    record = records.arms["cold", d]
    members = list(zip(record.mean, record.deviation, strict=True))
    levels = np.stack([_levels(*member) for member in members])
    mean = levels.mean(axis=0)
    difference = (np.abs(levels - mean) / mean).mean(axis=1)
    yield Check(
        "levels",
        "first d levels, difference between seeds",
        "relative",
        mean_over_members(difference),
        at_most(SAME_LEVELS),
        f"coordinate agreement of these members {record.agreement.coordinates.mean:.2f}",
        d=d,
    )
    others = {
        "shuffled": np.stack([_levels(*member, shuffle=True) for member in members[:BROKEN]]),
        "Gaussian": np.stack([_gaussian_levels(*member) for member in members]),
    }
    for name, other in others.items():
        off = (np.abs(other - mean) / mean).mean(axis=1)
        words = "coordinates shuffled" if name == "shuffled" else "Gaussian of equal covariance"
        yield Check(
            name,
            f"seeds' difference over that of {name}",
            "",
            mean_over_members(difference.mean() / off),
            at_most(HALF),
            f"{words}: levels off by {off.mean():.2f}",
            d=d,
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


def _gaussian_levels(mean, deviation):
    """The same of a Gaussian with that covariance: sums of quanta 1/(2s²) of its axes."""
    d = mean.shape[1]
    covariance = np.cov(mean.T.astype(float), bias=True).reshape(d, d) + np.diag((deviation**2).mean(axis=0) + 0.3**2)
    quanta = np.sort(0.5 / np.linalg.eigvalsh(covariance))
    sums = [sum(chosen) for n in (1, 2, 3) for chosen in itertools.combinations_with_replacement(quanta, n)]
    return np.sort(sums)[:d]


def corrected(records, d):
    """C4: members that were trained in a field agree, for good, at no cost, even between labs."""
    yield from _two_labs(records, d)
    if ("corrected", d) not in records.arms:
        return
    found = records.arms["corrected", d]
    others = {name: records.arms[name, d].agreement.coordinates for name in ("cold", "warm", "shuffled")}
    yield Check(
        "agreement",
        "agreement of raw coordinates",
        "",
        found.agreement.coordinates,
        at_least(AGREED),
        ", ".join(f"{name} {each.mean:.2f}" for name, each in others.items()),
        d=d,
    )
    own_deals = records.price("shuffled_each", d)
    for name, each in others.items() if own_deals is None else [*others.items(), ("own deal", own_deals.coordinates)]:
        if name != "shuffled":  # one deal for all members is a field that they share
            yield Check(f"without {name}", f"agreement, {name}", "", each, below(UNRELATED), "", "sanity", d)
    if turned := records.price("cold, turned", d):
        yield Check(
            "turned",
            "agreement minus Procrustes after training",
            "",
            difference(found.agreement.coordinates, turned.coordinates),
            above(0),
            f"cold start, turned, on other images {turned.coordinates.mean:.3f}{_warm_too(records, d)}",
            d=d,
        )
    name, best = _baseline(records, d)
    yield Check(
        "loss",
        "−ELBO minus best model without field",
        "nats",
        mean_over_members(of_both(found.minus_elbo, best)),
        at_most(0),
        f"{name} {mean_and_spread(best)}",
        d=d,
    )
    if d in records.aftermath:
        series = records.aftermath[d]
        yield Check(
            "aftermath",
            f"agreement {series.values[-1]:g} epochs later",
            "",
            series.coordinates[-1],
            at_least(LASTING),
            f"at the start {series.coordinates[0].mean:.3f}",
            d=d,
        )
    if records.couplings is not None and d == records.couplings_dim:
        yield from _doses(records, d)


def warm_turned(records, d):
    """What turning makes of the members with a warm start, as `vaept.vae.pairs.PairAgreement`; None without them."""
    return compare_aligned(own.mean, "rotation") if (own := records.arms.get(("warm", d))) else None


def _warm_too(records, d):
    if (own := warm_turned(records, d)) is None:
        return ""
    more = shown(records.arms["corrected", d].agreement.coordinates.mean - own.coordinates.mean, ".3f")
    return f"; warm start, turned {own.coordinates.mean:.3f}: agreement minus that {more}"


def _two_labs(records, d):
    labs = {each.arm: each for each in records.labs if each.d == d}
    if LAB in labs:
        own = labs.pop(LAB)
        beside = "; ".join(f"{each.arm} {each.between.mean:.2f}" for each in labs.values())
        yield Check(
            "two labs",
            "agreement between two labs",
            "",
            own.between,
            at_least(LASTING),
            f"their fields {own.fields:.3f}, in a lab {own.within.mean:.3f}; {beside}",
            d=d,
        )


def _baseline(records, d):
    """Name and −ELBO of the best arm without a field whose members use as many coordinates as any do."""
    found = {name: records.arms[name, d] for name in ("cold", "warm")}
    found |= {name: price for name in ("short_warm",) if (price := records.price(name, d))}
    most = max(record.active_units.mean() for record in found.values())
    losses = {name: record.minus_elbo for name, record in found.items() if record.active_units.mean() >= most - 1 / 2}
    return min(losses.items(), key=lambda item: item[1].mean())


def _doses(records, d):
    series = records.couplings
    exponent, used = cost_exponent(series)
    yield Check(
        "exponent",
        "power of λ in the cost",
        "",
        exponent,
        within(POWER, 2),
        f"fitted to {used.sum()} couplings" if used.sum() >= 3 else "no cost that could be fitted",
        d=d,
    )
    yield Check(
        "smallest",
        f"agreement at λ = {series.values[1]:g}",
        "",
        series.coordinates[1],
        at_least(DIFFERENT),
        f"λ = 0 {series.coordinates[0].mean:.2f}",
        d=d,
    )
    if len(records.lengths) > 1:
        halves = {epochs: coupling_at(each) for epochs, each in records.lengths.items()}
        words = ", ".join(f"{epochs} epochs {half.mean:.2g}" for epochs, half in halves.items())
        yield Check(
            "longer",
            "power of length in λ(½)",
            "",
            length_exponent(records.lengths),
            below(0),
            f"λ at which agreement is ½: {words}",
            d=d,
        )


def coupling_at(series, level=0.5):
    """The coupling at which agreement first reaches a level, between two couplings linear in log λ.

    Parameters
    ----------
    series : vaept.companion.records.Series
        Its first value is λ = 0.
    level : float

    Returns
    -------
    Estimate
        Of the curves of means and of both ends of their intervals; NaN where a curve does not reach the level, or has
        it at the smallest coupling.
    """
    logs = np.log(series.values[1:])
    curves = np.array([[each.mean, each.high, each.low] for each in series.coordinates[1:]]).T
    found = []
    for curve in curves:
        reached = np.flatnonzero(curve >= level)
        at = reached[0] if len(reached) else 0
        share = (level - curve[at - 1]) / (curve[at] - curve[at - 1]) if at else np.nan
        found.append(float(np.exp(logs[at - 1] + share * (logs[at] - logs[at - 1]))) if at else np.nan)
    return Estimate(*found)


def length_exponent(lengths):
    """The power of the length of training with which the coupling at which agreement reaches ½ changes.

    Parameters
    ----------
    lengths : dict from int to vaept.companion.records.Series
        By epochs.

    Returns
    -------
    Estimate
        Slope in log-log; its interval takes the ends of those couplings at their worst.
    """
    epochs = np.log(sorted(lengths))
    halves = [coupling_at(lengths[each]) for each in sorted(lengths)]
    middle, low, high = (np.log([getattr(each, name) for each in halves]) for name in ("mean", "low", "high"))
    if not np.isfinite([middle, low, high]).all():
        return Estimate(np.nan, np.nan, np.nan)
    pull = (epochs - epochs.mean()) / ((epochs - epochs.mean()) ** 2).sum()
    steepest, flattest = np.where(pull > 0, low, high), np.where(pull > 0, high, low)
    return Estimate(*(float(pull @ each) for each in (middle, steepest, flattest)))


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
    """C5: fields from the neighbour graph do better than a linear one, and than a random one."""
    if ("principal", d) not in records.arms:
        return
    own = {
        name: records.price(name, d) or records.arms.get((name, d)) for name in ("principal", "diffusion", "corrected")
    }
    own["random_network"] = records.price("random_network", d)
    titles = {"diffusion": "diffusion", "corrected": "neighbour"}
    against = {"principal": "linear", "random_network": "random"}
    for other, words in against.items():
        for name, title in titles.items():
            if own[other] is None:
                continue
            raw = [_coordinates(each).mean for each in (own[name], own[other])]
            yield Check(
                name if other == "principal" else f"{name}, {words}",
                f"−ELBO, {title} minus {words} field",
                "nats",
                mean_over_members(of_both(own[name].minus_elbo, own[other].minus_elbo)),
                below(0),
                f"agreement {raw[0]:.3f} against {raw[1]:.3f}",
                d=d,
            )
    if each := records.price("neighbour_each", d):
        yield Check(
            "own realisations",
            "agreement, own realisations of field",
            "",
            each.coordinates,
            at_least(AGREED),
            f"one for all {_coordinates(own['corrected']).mean:.3f}",
            d=d,
        )


def exactly(value):
    """A number without an interval, as an `Estimate`."""
    return Estimate(*[float(value)] * 3)


def of_both(one, other):
    """The differences of the members that both have, which share their seeds; members are the last axis."""
    n = min(one.shape[-1], other.shape[-1])
    return one[..., :n] - other[..., :n]


def _coordinates(own):
    return own.coordinates if hasattr(own, "coordinates") else own.agreement.coordinates


def difference(one, other):
    """The difference of two `Estimate`s from different members; its interval takes their ends at their worst."""
    return Estimate(one.mean - other.mean, one.low - other.high, one.high - other.low)
