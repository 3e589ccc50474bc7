"""The checks of the claims: numbers from `vaept.companion.records` against thresholds that were written here before the run.

Every check has an interval over members where there is one, and stands beside a control.
"""

import re
from dataclasses import dataclass

import numpy as np

from vaept.spectrum.levels import from_samples
from vaept.spectrum.oscillator import energy, kl_bound
from vaept.vae.agreement import Estimate, compare, shuffled_rows

# Least coordinate agreement of corrected members, and how many nats they must be better than the warm-start control.
AGREEMENT = {("mnist", 2): 0.97, ("mnist", 8): 0.98}
GAIN = {("mnist", 2): 2.5}
CHANCE = 0.3
RAND_INDEX = 0.5
PRECISION = 0.5
NOISE = 0.5  # at which denoising is judged


@dataclass(frozen=True)
class Check:
    """One number against its threshold.

    Attributes
    ----------
    key : str
        Names the check among those of its claim, whatever was measured.
    quantity : str
        In words, with the latent dimension.
    value : Estimate
        Mean and 95 % interval over members.
    threshold : str
        In words.
    met : bool
        Whether these records meet the threshold.
    control : str
        What the control gave, in words. Its numbers and those of the threshold are set with minus signs; what could not
        be measured is none.
    elsewhere : tuple of bool
        Whether runs on other machines meet it, as `vaept.companion.machines` has them.
    """

    key: str
    quantity: str
    value: Estimate
    threshold: str
    met: bool
    control: str
    elsewhere: tuple = ()

    def __post_init__(self):
        for words in ("threshold", "control"):
            text = re.sub(r"\bnan\b", "none", getattr(self, words))
            object.__setattr__(self, words, re.sub(r"-(?=\d)", "−", text))

    @property
    def verdict(self):
        """One of "holds", "fails" and, where runs on several machines differ in that, "undecided"."""
        if any(other != self.met for other in self.elsewhere):
            return "undecided"
        return "holds" if self.met else "fails"

    @property
    def holds(self):
        """Whether the verdict is "holds"."""
        return self.verdict == "holds"


def shown(value, spec=".3g"):
    """A number or an `Estimate` in words, with its interval where it has one; "none" if nothing could be measured."""
    if value is None or np.isnan(value.mean if isinstance(value, Estimate) else value):
        return "none"
    if isinstance(value, Estimate) and np.isnan(value.low):
        value = value.mean
    return f"{value:{spec}}".replace("-", "−")


def mean_over_members(values, *, n_bootstrap=1000, seed=0):
    """Mean of one number per member, with its 95 % bootstrap interval over members.

    Parameters
    ----------
    values : array, shape (members,)
        NaN for members that have none, which are left out.

    Returns
    -------
    Estimate
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) < 3:
        return Estimate(float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    rows = np.random.default_rng(seed).integers(len(values), size=(n_bootstrap, len(values)))
    low, high = np.percentile(values[rows].mean(axis=1), [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high))


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


def degenerate(records):
    """The checks of C1, as a list of `Check`."""
    checks = []
    for d in records.latent_dims:
        record = records.arms["cold", d]
        found, control = record.agreement, compare(shuffled_rows(record.mean), n_bootstrap=1)
        value = found.coordinates
        alike = record.minus_elbo.std(ddof=1) < 0.02 * record.minus_elbo.mean()
        checks.append(
            Check(
                f"agreement, d = {d}",
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


def symmetric(records):
    """The checks of C2, as a list of `Check`."""
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
                f"bound, d = {d}",
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
                f"rotation, d = {d}",
                f"R² between seeds after the best rotation, the symmetry of the prior, d = {d}",
                value,
                "≥ 0.9",
                bool(value.mean >= 0.9),
                f"images shuffled: {control.mean:.2f}",
            )
        )
    return checks


def spectral(records):
    """The checks of C3, as a list of `Check`."""
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
                f"levels, d = {d}",
                f"relative difference of the first {d} levels between seeds, d = {d}",
                value,
                "≤ 0.1",
                bool(value.mean <= 0.1),
                f"each coordinate shuffled on its own: off by {apart:.1f} times the spread over seeds; coordinate "
                f"agreement {record.agreement.coordinates.mean:.2f}",
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


def corrected(records):
    """The checks of C4, as a list of `Check`."""
    checks = []
    for d in records.latent_dims:
        checks += _against_controls(records, d)
        if d in records.aftermath:
            series = records.aftermath[d]
            checks.append(
                Check(
                    f"aftermath, d = {d}",
                    f"coordinate agreement {series.values[-1]:g} epochs after the field is gone, d = {d}",
                    series.coordinates[-1],
                    "≥ 0.97",
                    bool(series.coordinates[-1].mean >= 0.97),
                    f"at the start {series.coordinates[0].mean:.3f}",
                )
            )
    if records.couplings is not None:
        checks += _doses(records.couplings, records.couplings_dim)
    return checks


def _against_controls(records, d):
    checks = []
    arms = {name: records.arms[name, d] for name in records.arm_names(d)}
    corrected, warm = arms["corrected"], arms["warm"]
    value, least = corrected.agreement.coordinates, AGREEMENT.get((records.data, d), 0.95)
    controls = {name: arms[name].agreement.coordinates.mean for name in ("cold", "warm", "shuffled")}
    text = ", ".join(f"{name} {mean:.2f}" for name, mean in controls.items())
    checks.append(
        Check(
            f"agreement, d = {d}",
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
            f"warm, d = {d}",
            f"−ELBO of corrected members minus that of the warm-start control, nats, d = {d}",
            value,
            f"≤ {-gain:g}" if gain else "≤ 0",
            bool(value.mean <= -gain),
            f"warm {_spread(warm.minus_elbo)}",
        )
    )
    value = mean_over_members(corrected.minus_elbo - arms["cold"].minus_elbo)
    checks.append(
        Check(
            f"cold, d = {d}",
            f"−ELBO of corrected members minus that of the cold start, nats, d = {d}",
            value,
            "≤ 0",
            bool(value.mean <= 0),
            f"cold {_spread(arms['cold'].minus_elbo)}",
        )
    )
    return checks


def _doses(series, d):
    checks = []
    exponent, used = cost_exponent(series)
    checks.append(
        Check(
            f"exponent, d = {d}",
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
            f"smallest, d = {d}",
            f"coordinate agreement at the smallest coupling, λ = {series.values[1]:g}, d = {d}",
            first,
            "≥ 0.9",
            bool(first.mean >= 0.9),
            f"λ = 0: {series.coordinates[0].mean:.2f}",
        )
    )
    return checks


def topological(records):
    """The checks of C5, as a list of `Check`."""
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
                    f"{name}, d = {d}",
                    f"−ELBO, {title} minus principal components, nats, d = {d}",
                    value,
                    "< 0, whole interval",
                    bool(value.high < 0),
                    f"coordinate agreement {agreement.mean:.3f} against {linear.agreement.coordinates.mean:.3f}",
                )
            )
    return checks


def interpreted(records):
    """The checks of C6, as a list of `Check`."""
    checks = []
    for d, own in _in_use(records):
        if own.get("clustering"):
            found, plain, shuffled = (records.arms[x, d].uses["clustering"] for x in ("corrected", "cold", "shuffled"))
            value = mean_over_members(found["Rand index slow modes"])
            chance, other = found["Rand index chance"].mean(), shuffled["Rand index slow modes"].mean()
            control = f"classes dealt anew: {chance:.2f}; shuffled field: {other:.2f}; plain members: "
            control += f"{plain['Rand index slow modes'].mean():.2f}"
            checks.append(
                Check(
                    f"states, d = {d}",
                    f"adjusted Rand index of the slow modes' states and the classes, corrected members, d = {d}",
                    value,
                    f"≥ {RAND_INDEX}, interval above the shuffled field's mean",
                    bool(value.mean >= RAND_INDEX and value.low > other),
                    control,
                )
            )
            gain = (found["Rand index mixture"] - found["Rand index k-means"]).mean()
            value = mean_over_members(found["Rand index slow modes"] - found["Rand index k-means"])
            checks.append(
                Check(
                    f"k-means, d = {d}",
                    f"the same minus that of k-means on the same latents, d = {d}",
                    value,
                    "> 0, whole interval",
                    bool(value.low > 0),
                    f"mixture of Gaussians minus k-means: {gain:.2f}",
                )
            )
        found = own.get("outliers")
        if not found:
            continue
        value = mean_over_members(found["precision energy"])
        checks.append(
            Check(
                f"outliers, d = {d}",
                f"precision at k of planted outliers by their energy, corrected members, d = {d}",
                value,
                f"≥ {PRECISION}",
                bool(value.mean >= PRECISION),
                f"chance {found['precision chance'].mean():.2f}; by −ELBO {found['precision −ELBO'].mean():.2f}",
            )
        )
    return checks


def dynamic(records):
    """The checks of C7, as a list of `Check`."""
    checks = []
    for d, own in _in_use(records):
        found = own["relaxation"]
        value, control = mean_over_members(found["time 1"]), found["time Gaussian"].mean()
        checks.append(
            Check(
                f"relaxation, d = {d}",
                f"slowest relaxation time of Langevin walkers divided by 1/level, corrected members, d = {d}",
                value,
                "within 0.1 of 1, control not",
                bool(abs(value.mean - 1) <= 0.1 < abs(control - 1)),
                f"divided by the time of a Gaussian with the same covariance: {control:.2f}",
            )
        )
        found = own["paths"]
        wanted = {
            "energy": ("mean free energy along lowest paths minus along straight lines, kT", "< 0, whole interval"),
            "sure": (
                "share of decoded images that a classifier is sure about, the same difference",
                "> 0, whole interval",
            ),
        }
        for what, (words, threshold) in wanted.items():
            key = f"paths {what}, d = {d}"
            if what == "sure" and (records.labels is None or "classifier" in records.left_out):
                continue
            if f"{what} lowest path" not in found:
                nothing = Estimate(np.nan, np.nan, np.nan)
                control = "no member has two minima with a barrier between them"
                checks.append(Check(key, f"{words}, corrected members, d = {d}", nothing, threshold, False, control))
                continue
            line = found[f"{what} straight line"]
            value = mean_over_members(found[f"{what} lowest path"] - line)
            mirrored, members = np.nanmean(found[f"{what} mirrored path"] - line), np.isfinite(line).sum()
            control = f"mirrored paths minus straight lines: {mirrored:.2f}; {members} members have paths"
            checks.append(
                Check(
                    key,
                    f"{words}, corrected members, d = {d}",
                    value,
                    threshold,
                    bool(value.high < 0 if what == "energy" else value.low > 0),
                    control,
                )
            )
    return checks


def used(records):
    """The checks of C8, as a list of `Check`."""
    checks = []
    for d, own in _in_use(records):
        plain = records.arms["cold", d].uses
        checks += _denoising(own["denoising"], plain["denoising"], d)
        if own.get("clustering"):
            value = mean_over_members(
                own["clustering"]["Rand index k-means"] - plain["clustering"]["Rand index k-means"]
            )
            others = {name: records.arms[name, d].uses["clustering"] for name in ("warm", "shuffled")}
            text = ", ".join(f"{name} {found['Rand index k-means'].mean():.2f}" for name, found in others.items())
            checks.append(
                Check(
                    f"clustering, d = {d}",
                    f"adjusted Rand index of k-means and classes, corrected minus plain members, d = {d}",
                    value,
                    "> 0, whole interval",
                    bool(value.low > 0),
                    f"plain {plain['clustering']['Rand index k-means'].mean():.2f}, {text}",
                )
            )
        if own.get("generation"):
            checks += _generation(own["generation"], plain["generation"], d)
        value = mean_over_members(records.arms["corrected", d].log_likelihood - records.arms["cold", d].log_likelihood)
        checks.append(
            Check(
                f"likelihood, d = {d}",
                f"importance-weighted log p(x), corrected minus plain members, nats, d = {d}",
                value,
                "> 0, whole interval",
                bool(value.low > 0),
                f"plain {_spread(records.arms['cold', d].log_likelihood)}",
            )
        )
    return checks


def _denoising(own, plain, d):
    checks, model = [], f"psnr model {NOISE}"
    noisy, encoder = (f"{own[f'psnr {method} {NOISE}'].mean():.1f}" for method in ("noisy", "encoder"))
    if f"psnr wavelet {NOISE}" in own:  # filters are for images with two axes
        median, wavelet = own[f"psnr median {NOISE}"], own[f"psnr wavelet {NOISE}"]
        value = mean_over_members(own[model] - wavelet)
        checks.append(
            Check(
                f"wavelets, d = {d}",
                f"PSNR of denoised images minus that of wavelets, noise {NOISE}, dB, corrected members, d = {d}",
                value,
                "> 0, whole interval",
                bool(value.low > 0),
                f"noisy {noisy}, median filter {median.mean():.1f}, wavelets {wavelet.mean():.1f} dB",
            )
        )
    value = mean_over_members(own[model] - plain[model])
    checks.append(
        Check(
            f"denoising, d = {d}",
            f"PSNR of denoised images, noise {NOISE}, corrected minus plain members, dB, d = {d}",
            value,
            "> 0, whole interval",
            bool(value.low > 0),
            f"plain {plain[model].mean():.1f} dB; encoder alone {encoder} dB",
        )
    )
    return checks


def _generation(own, plain, d):
    prior, aggregate = "frechet prior", "frechet aggregate posterior"
    value = mean_over_members(own[aggregate] - own[prior])
    over_prior = Check(
        f"draws over prior, d = {d}",
        f"Fréchet distance of draws from the aggregate posterior minus that of the prior, corrected members, d = {d}",
        value,
        "< 0, whole interval",
        bool(value.high < 0),
        f"the same of plain members {(plain[aggregate] - plain[prior]).mean():.1f}; Langevin minus prior "
        f"{(own['frechet Langevin'] - own[prior]).mean():.1f}",
    )
    value = mean_over_members(own[aggregate] - plain[aggregate])
    over_plain = Check(
        f"draws over plain, d = {d}",
        f"Fréchet distance of draws from the aggregate posterior, corrected minus plain members, d = {d}",
        value,
        "< 0, whole interval",
        bool(value.high < 0),
        f"plain {plain[aggregate].mean():.1f}, training images {own['frechet images'].mean():.1f}; recall "
        f"{own['recall aggregate posterior'].mean():.2f} against {plain['recall aggregate posterior'].mean():.2f}",
    )
    return [over_prior, over_plain]


def _in_use(records):
    """Pairs (d, `uses`) of the corrected arm for the dimensions in which it was measured in use."""
    found = [(d, records.arms["corrected", d].uses) for d in records.latent_dims]
    return [(d, uses) for d, uses in found if uses]
