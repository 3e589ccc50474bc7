"""The claims of the paper's abstract, their thresholds and controls, and the ledger that results fill.

A claim is settled by checks: numbers from `vaept.records` with an interval over members, each against a threshold that
was written here before the run. The verdict is "reproduced" if every check holds, "partly" if some do, "not
reproduced" if none does, and "not yet run" if nothing was measured. Every check stands beside a control.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vaept.degeneracy import Estimate, compare, shuffled_rows
from vaept.oscillator import energy, kl_bound
from vaept.spectrum import from_samples

# Least coordinate agreement of corrected members, and how many nats they must be better than the warm-start control.
AGREEMENT = {("mnist", 2): 0.97, ("mnist", 8): 0.98}
GAIN = {("mnist", 2): 2.5}
CHANCE = 0.3


@dataclass(frozen=True)
class Check:
    """One number against its threshold.

    Attributes
    ----------
    quantity : str
        In words, with the latent dimension.
    value : Estimate
        Mean and 95 % interval over members.
    threshold : str
    holds : bool
    control : str
        What the control gave, in words.
    """

    quantity: str
    value: Estimate
    threshold: str
    holds: bool
    control: str


@dataclass(frozen=True)
class Claim:
    """A statement of the abstract and how it is tested.

    Attributes
    ----------
    id, statement, measured : str
        "C1" …, the statement in our words, and what is measured against what.
    check : callable, or None
        From `Records` to a list of `Check`; None: not yet tested.
    """

    id: str
    statement: str
    measured: str
    check: Callable | None = None


@dataclass(frozen=True)
class Entry:
    """A claim with its checks; see the module for `verdict`."""

    claim: Claim
    checks: tuple

    @property
    def verdict(self):
        """One of "reproduced", "partly", "not reproduced", "not yet run"."""
        if not self.checks:
            return "not yet run"
        held = [check.holds for check in self.checks]
        return "reproduced" if all(held) else "partly" if any(held) else "not reproduced"


def ledger(records):
    """Fill the ledger.

    Parameters
    ----------
    records : vaept.records.Records

    Returns
    -------
    list of Entry
        One for each claim, in order.
    """
    return [Entry(claim, tuple(claim.check(records)) if claim.check else ()) for claim in CLAIMS]


@dataclass(frozen=True)
class Change:
    """A check of a fresh run beside the published one.

    Attributes
    ----------
    claim : str
        Its id.
    quantity : str
    fresh, published : Estimate, or None
        None where only the other has the check.
    moved : bool
        Whether the fresh mean lies outside the published interval (without one: differs by more than 1 %), or only
        one has the check.
    """

    claim: str
    quantity: str
    fresh: Estimate | None
    published: Estimate | None
    moved: bool


def changes(fresh, published):
    """Compare two ledgers check by check.

    Checks belong together if claim and place are the same, because their words may hold numbers.

    Parameters
    ----------
    fresh, published : list of Entry

    Returns
    -------
    list of Change
    """
    found = []
    for new, old in zip(fresh, published, strict=True):
        for one, other in itertools.zip_longest(new.checks, old.checks):
            either = one or other
            moved = one is None or other is None or _moved(one.value, other.value)
            found.append(Change(new.claim.id, either.quantity, one and one.value, other and other.value, moved))
    return found


def _moved(fresh, published):
    if np.isnan(fresh.mean) or np.isnan(published.mean):
        return np.isnan(fresh.mean) != np.isnan(published.mean)
    if np.isnan(published.low):
        return abs(fresh.mean - published.mean) > 0.01 * abs(published.mean)
    rounding = 1e-9 * max(1.0, abs(published.mean))
    return not published.low - rounding <= fresh.mean <= published.high + rounding


def as_markdown(entries):
    """The ledger as a page of the book, in MyST Markdown."""
    lines = []
    for entry in entries:
        lines += [
            f"## {entry.claim.id}: {entry.verdict}",
            "",
            f"*{entry.claim.statement}*",
            "",
            entry.claim.measured,
            "",
        ]
        if entry.checks:
            lines += ["| measured | value | threshold | holds | control |", "|---|---|---|---|---|"]
            for check in entry.checks:
                holds = "yes" if check.holds else "no"
                cells = (check.quantity, shown(check.value), check.threshold, holds, check.control)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            lines.append("")
    return "\n".join(lines)


def shown(value):
    """An `Estimate` in words: three digits with its interval, or "none" where nothing could be measured."""
    return "none" if value is None or np.isnan(value.mean) else f"{value:.3g}"


def as_text(entries):
    """The ledger for a terminal."""
    lines = []
    for entry in entries:
        lines.append(f"{entry.claim.id}  {entry.verdict}: {entry.claim.statement}")
        for check in entry.checks:
            mark = "holds" if check.holds else "fails"
            lines.append(f"    {mark}  {check.quantity}: {shown(check.value)} (threshold {check.threshold})")
            lines.append(f"           control: {check.control}")
    return "\n".join(lines)


def mean_over_members(values, *, n_bootstrap=1000, seed=0):
    """Mean of one number per member, with its 95 % bootstrap interval over members.

    Parameters
    ----------
    values : array, shape (members,)

    Returns
    -------
    Estimate
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 3:
        return Estimate(float(values.mean()), np.nan, np.nan)
    rows = np.random.default_rng(seed).integers(len(values), size=(n_bootstrap, len(values)))
    low, high = np.percentile(values[rows].mean(axis=1), [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high))


def cost_exponent(series, *, n_bootstrap=1000, seed=0):
    """How the cost of a field in nats grows with its coupling: the slope in log-log of −ELBO(λ) − (−ELBO(0)).

    Fitted to the strongest couplings, down to the last whose mean cost exceeds twice its standard error over members,
    and to three at least.

    Parameters
    ----------
    series : vaept.records.Series
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


def _degenerate(records):
    checks = []
    for d in records.latent_dims:
        record = records.arms["cold", d]
        found, control = record.agreement, compare(shuffled_rows(record.mean), n_bootstrap=1)
        value = found.coordinates
        alike = record.minus_elbo.std(ddof=1) < 0.02 * record.minus_elbo.mean()
        checks.append(
            Check(
                f"coordinate agreement of seeds with equal −ELBO ({_spread(record.minus_elbo)} nats), d = {d}",
                value,
                f"< {CHANCE}, interval below 0.5, −ELBO within 2 %",
                bool(value.mean < CHANCE and value.high < 0.5 and alike),
                f"a member with itself, sampled twice: {_itself(record):.2f}; R² of a linear map with images "
                f"shuffled: {control.linear.mean:.2f}",
            )
        )
    return checks


def _spread(values):
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def _itself(record):
    noise = np.random.default_rng(0).standard_normal((2, *record.mean[0].shape))
    return compare(record.mean[0] + record.deviation[0] * noise, n_bootstrap=1).coordinates.mean


def _symmetric(records):
    checks = []
    for d in records.latent_dims:
        record = records.arms["cold", d]
        variance = record.deviation.astype(float) ** 2
        mean = record.mean.astype(float)
        kl = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(-1)
        share = (kl <= kl_bound(mean, variance) * (1 + 1e-6)).mean(axis=1)
        halved = (kl <= 2 * energy(mean, variance)).mean()
        checks.append(
            Check(
                f"share of posteriors with KL ≤ 4⟨H₀⟩, d = {d}",
                mean_over_members(share),
                "= 1",
                bool((share == 1).all()),
                f"with 2⟨H₀⟩ instead: {halved:.2f}",
            )
        )
        value, control = record.agreement.orthogonal, compare(shuffled_rows(record.mean), n_bootstrap=1).orthogonal
        checks.append(
            Check(
                f"R² between seeds after the best rotation, the symmetry of the prior, d = {d}",
                value,
                "≥ 0.9",
                bool(value.mean >= 0.9),
                f"images shuffled: {control.mean:.2f}".replace("-", "−"),
            )
        )
    return checks


def _spectral(records):
    checks = []
    for d in records.latent_dims:
        record = records.arms["cold", d]
        levels = np.stack([_levels(mean, own, d) for mean, own in zip(record.mean, record.deviation, strict=True)])
        first = zip(record.mean[:3], record.deviation[:3], strict=True)
        broken = np.stack([_levels(mean, own, d, shuffle=True) for mean, own in first])
        mean, spread = levels.mean(axis=0), levels.std(axis=0, ddof=1)
        apart = np.abs(broken.mean(axis=0) - mean).max() / spread[np.abs(broken.mean(axis=0) - mean).argmax()]
        value = mean_over_members((np.abs(levels - mean) / mean).mean(axis=1))
        checks.append(
            Check(
                f"relative difference of the first {d} levels between seeds, d = {d}",
                value,
                "≤ 0.1",
                bool(value.mean <= 0.1),
                f"each coordinate shuffled on its own: off by {apart:.1f} times the spread over seeds; coordinate "
                f"agreement {record.agreement.coordinates.mean:.2f}".replace("-", "−"),
            )
        )
    return checks


def _levels(mean, deviation, d, *, shuffle=False):
    """The first d excited levels of posterior samples, blurred by 0.3 as in chapter 4."""
    generator = np.random.default_rng(0)
    width = np.sqrt(deviation.astype(float) ** 2 + 0.3**2)
    repeats = -(-20_000 // len(mean))
    samples = np.concatenate([mean + width * generator.standard_normal(mean.shape) for _ in range(repeats)])
    if shuffle:
        samples = generator.permuted(samples, axis=0)
    return from_samples(samples, d + 1, bootstrap=0).levels[1:]


def _corrected(records):
    checks = []
    for d in records.latent_dims:
        arms = {name: records.arms[name, d] for name in records.arm_names(d)}
        corrected, warm = arms["corrected"], arms["warm"]
        value, least = corrected.agreement.coordinates, AGREEMENT.get((records.data, d), 0.95)
        controls = {name: arms[name].agreement.coordinates.mean for name in ("cold", "warm", "shuffled")}
        text = ", ".join(f"{name} {mean:.2f}".replace("-", "−") for name, mean in controls.items())
        checks.append(
            Check(
                f"coordinate agreement of corrected members, d = {d}",
                value,
                f"≥ {least}, controls < {CHANCE}",
                bool(value.mean >= least and max(controls.values()) < CHANCE),
                text,
            )
        )
        value, gain = mean_over_members(corrected.minus_elbo - warm.minus_elbo), GAIN.get((records.data, d), 0.0)
        checks.append(
            Check(
                f"−ELBO of corrected members minus that of the warm-start control, nats, d = {d}",
                value,
                f"≤ {-gain:g}".replace("-", "−") if gain else "≤ 0",
                bool(value.mean <= -gain),
                f"warm {_spread(warm.minus_elbo)}",
            )
        )
        value = mean_over_members(corrected.minus_elbo - arms["cold"].minus_elbo)
        checks.append(
            Check(
                f"−ELBO of corrected members minus that of the cold start, nats, d = {d}",
                value,
                "≤ 0",
                bool(value.mean <= 0),
                f"cold {_spread(arms['cold'].minus_elbo)}",
            )
        )
        if d in records.aftermath:
            series = records.aftermath[d]
            checks.append(
                Check(
                    f"coordinate agreement {series.values[-1]:g} epochs after the field is gone, d = {d}",
                    series.coordinates[-1],
                    "≥ 0.97",
                    bool(series.coordinates[-1].mean >= 0.97),
                    f"at the start {series.coordinates[0].mean:.3f}",
                )
            )
    if records.couplings is not None:
        series, d = records.couplings, records.couplings_dim
        exponent, used = cost_exponent(series)
        checks.append(
            Check(
                f"power of λ with which the cost in nats grows, d = {d}",
                exponent,
                "within 0.5 of 2",
                bool(abs(exponent.mean - 2) <= 0.5),
                f"fitted to {used.sum()} couplings" if used.sum() >= 3 else "no cost that could be fitted",
            )
        )
        first = series.coordinates[1]
        checks.append(
            Check(
                f"coordinate agreement at the smallest coupling, λ = {series.values[1]:g}, d = {d}",
                first,
                "≥ 0.9",
                bool(first.mean >= 0.9),
                f"λ = 0: {series.coordinates[0].mean:.2f}".replace("-", "−"),
            )
        )
    return checks


def _topological(records):
    checks = []
    for d in records.latent_dims:
        arms = {name: records.arms[name, d] for name in records.arm_names(d)}
        linear = arms["principal"]
        for name in ("diffusion", "corrected"):
            title = {"diffusion": "diffusion field", "corrected": "neighbour field"}[name]
            value = mean_over_members(arms[name].minus_elbo - linear.minus_elbo)
            agreement = arms[name].agreement.coordinates
            checks.append(
                Check(
                    f"−ELBO, {title} minus principal components, nats, d = {d}",
                    value,
                    "< 0, whole interval",
                    bool(value.high < 0),
                    f"coordinate agreement {agreement.mean:.3f} against {linear.agreement.coordinates.mean:.3f}",
                )
            )
    return checks


CLAIMS = (
    Claim(
        "C1",
        "Converged models can differ significantly: the latent space is degenerate.",
        "Correlation of equal-numbered coordinates between seeds of one architecture with equal ELBO.",
        _degenerate,
    ),
    Claim(
        "C2",
        "A relation between physics and machine learning explains it.",
        "The prior as an oscillator bounds the KL divergence; its symmetry, all rotations, is what sets seeds apart.",
        _symmetric,
    ),
    Claim(
        "C3",
        "The embedding, as a generative distribution, maps to functions and an energy spectrum.",
        "Levels of the aggregate posterior: the same for all seeds, although the coordinates differ.",
        _spectral,
    ),
    Claim(
        "C4",
        "Optimising a perturbed Hamiltonian corrects the degeneracy.",
        "Coordinate agreement and −ELBO of members trained in a field that is gone at the end; how long it lasts; the "
        "order of its effect in λ.",
        _corrected,
    ),
    Claim(
        "C5",
        "The potential is related to the unobserved topology of the data.",
        "Fields from the neighbour graph of the images against a linear field, everything else equal.",
        _topological,
    ),
    Claim(
        "C6",
        "Spectra help to interpret the latent space and the generative process.",
        "Slow eigenfunctions against the classes, which training never saw.",
    ),
    Claim("C7", "The energy landscapes serve for modelling and dynamics.", "Relaxation of Langevin dynamics and gaps."),
    Claim(
        "C8",
        "The models are used for denoising, clustering and generation.",
        "Denoising, clustering and generation with plain and with corrected models.",
    ),
)
