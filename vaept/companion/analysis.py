"""The analysis figures of a study's records: which numbers go into which figure.

The figures work from `vaept.companion.records` alone, so the published ones can be drawn again without images and
without training. Tables are text in Markdown, which a notebook renders.
"""

import itertools

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment
from scipy.stats import ortho_group, pearsonr, wishart
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from vaept.companion import figures, markdown
from vaept.companion.checks_training import cost_exponent, warm_turned
from vaept.companion.comparisons import Price
from vaept.companion.profiles import arm
from vaept.companion.records import published
from vaept.companion.wording import given_classes
from vaept.errors import VaeptError
from vaept.spectrum.oscillator import kl_bound
from vaept.uses import clustering, interchange
from vaept.vae.agreement import Estimate, compare, mean_over_pairs, shuffled_rows

CONTROLS = ("cold", "warm", "shuffled", "principal", "diffusion", "corrected")  # arms with the whole schedule


def analysis_figures(records):
    """Every figure of this module, as a dict from name to Figure; those of d = 2 only if the study has it."""
    made = {draw.__name__: draw(records) for draw in (agreement_by_group, energy_bounds_kl, agreement_with_controls)}
    made |= {draw.__name__: draw(records) for draw in (dose_response, persistence)}
    if 2 in records.latent_dims:
        made |= {draw.__name__: draw(records) for draw in (ten_seeds, ten_seeds_in_a_field, arrangements)}
    return made


def with_arm(records, name):
    """These records if they have this arm in the largest d, else those published for the profile "digits"."""
    return records if (name, records.latent_dims[-1]) in records.arms else published("digits")


def varies_sources(records):
    """Whether members were trained of which some share one source of randomness and not the others."""
    return any(records.price(f"same_{source}", d) for source in ("weights", "order", "noise") for d in records.all_dims)


def with_sources(records):
    """These records if they have such members, else those published for the profile "digits", if there are any."""
    try:
        return records if varies_sources(records) else published("digits")
    except VaeptError:  # no checkout
        return records


def ten_seeds(records):
    """`figures.ten_seeds` of the plain members, d = 2."""
    record = records.arms["cold", 2]
    made_by = _made_by(records, ["cold"], [2])
    return figures.ten_seeds(record.mean, -record.minus_elbo, given_classes(records), made_by=made_by)


def agreement_by_group(records):
    """`figures.agreement_by_group` of the plain members."""
    arms = {f"d = {d}": records.arms["cold", d] for d in records.latent_dims}
    agreement = {name: by_group(record.mean, record.agreement) for name, record in arms.items()}
    chance = [by_group(shuffled_rows(record.mean)) for record in arms.values()]
    return figures.agreement_by_group(agreement, chance, made_by=_made_by(records, ["cold"], records.latent_dims))


def by_group(latents, agreement=None):
    """All measures of agreement, and R² of the maps as they are and after the best signed permutation.

    Parameters
    ----------
    latents : array, shape (members, n, d)
    agreement : Agreement, optional
        Of these latents, if it is known.

    Returns
    -------
    dict from str to Estimate
        By the names of `Agreement`; "unmoved" and "permuted" are R², the mean of both directions of a pair.
    """
    centred = np.asarray(latents, float) - np.mean(latents, axis=1, keepdims=True, dtype=float)
    found = np.zeros((2, len(centred), len(centred)))
    for i, j in itertools.combinations(range(len(centred)), 2):
        x, y = centred[i], centred[j]
        cross, totals = x.T @ y, np.array([(x**2).sum(), (y**2).sum()])
        shared = np.trace(cross), np.abs(cross)[linear_sum_assignment(-np.abs(cross))].sum()
        for k in range(2):
            residual = totals.sum() - 2 * shared[k]
            missed = np.divide(residual, totals, out=np.ones(2), where=totals > 0)
            found[k, i, j] = found[k, j, i] = 1 - missed.mean()
    unmoved, permuted = map(mean_over_pairs, found)
    return {"unmoved": unmoved, "permuted": permuted} | vars(agreement or compare(latents))


def other_measures(agreements, controls):
    """Measures of agreement that `figures.agreement_by_group` has not, of the same parameters: a table."""
    names = {
        "coordinates": "mean correlation of coordinates, as they are",
        "signed_permutation": "the same, best flips and exchanges",
        "cka": "similarity of shapes (linear CKA)",
        "neighbours": "shared neighbours (share of 10)",
    }
    several = list(zip(agreements.values(), controls, strict=True))
    rows = [
        (words, *(part for own, chance in several for part in (own[name], markdown.shown(chance[name].mean, ".2f"))))
        for name, words in names.items()
    ]
    header = [part for name in agreements for part in (name, f"by chance, {name}")]
    return markdown.table(("measure", *header), rows)


def energy_bounds_kl(records):
    """`figures.energy_bounds_kl` of the first plain member, d the smallest."""
    d = records.latent_dims[0]
    record = records.arms["cold", d]
    mean, variance = record.mean[0].astype(float), record.deviation[0].astype(float) ** 2
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(-1)
    return figures.energy_bounds_kl(kl, kl_bound(mean, variance), made_by=_made_by(records, ["cold"], [d]))


def ten_seeds_in_a_field(records):
    """`figures.ten_seeds_in_a_field`: plain and corrected members, d = 2."""
    before, after = (records.arms[name, 2].mean for name in ("cold", "corrected"))
    made_by = _made_by(records, ["cold", "corrected"], [2])
    return figures.ten_seeds_in_a_field(before, after, given_classes(records), made_by=made_by)


def agreement_with_controls(records, names=None):
    """`figures.agreement_with_controls` of the arms of these names, of all that follow the whole schedule if none."""
    names = names or CONTROLS
    arms = {
        f"d = {d}": {
            arm(name).title: (records.arms[name, d].agreement.coordinates, records.arms[name, d].minus_elbo)
            for name in names
        }
        for d in records.latent_dims
    }
    return figures.agreement_with_controls(arms, made_by=_made_by(records, names, records.latent_dims))


AFTER_TRAINING = {
    "cold, turned": "cold; turned onto each other",
    "cold, permuted": "cold; flipped and swapped onto each other",
    "cold, relative": "cold; relative representations",
    "warm, turned": "warm; turned onto each other",
}
FIRST = ("cold", "cold, turned", "cold, permuted", "cold, relative", "warm", "warm, turned")  # rows of the price list


def price_title(name):
    """What figures and tables call an arm of the price list."""
    return AFTER_TRAINING.get(name) or arm(name).title


def priced(records):
    """The price list as a list of `Price` with the arms that it lacks, plain ones first; [] if there is none.

    Members with a warm start are turned as those with a cold start were.
    """
    found, dims = list(records.prices), records.latent_dims if records.prices else []
    coupling = {"warm": None, "warm, turned": None}
    for name, d in itertools.product((*coupling, "principal", "diffusion", "corrected"), dims):
        own = records.arms.get((name.removesuffix(", turned"), d))
        if own and records.price(name, d) is None:
            agreed = warm_turned(records, d) if name == "warm, turned" else own.agreement
            agreed = {key: getattr(agreed, key) for key in ("coordinates", "signed_permutation", "orthogonal")}
            alike = {key: getattr(own, key) for key in ("minus_elbo", "active_units", "run")}
            own_coupling = coupling.get(name, records.provenance["settings"]["coupling"])
            found.append(Price(arm=name, d=d, coupling=own_coupling, **agreed, **alike))
    return sorted(found, key=lambda each: FIRST.index(each.arm) if each.arm in FIRST else len(FIRST))


def price_list(records):
    """`figures.price_list` of all arms, of latent dimensions of which there is a price list; a sentence if of none."""
    if not records.prices:
        return markdown.Text("This study has no price list.")
    arms, prices = {}, priced(records)
    for d in sorted({each.d for each in prices}):
        own = [each for each in prices if each.d == d]
        most = max(each.active_units.mean() for each in own)
        kinds = ["collapsed" if each.active_units.mean() < most - 1 / 2 else _kind(each) for each in own]
        arms[f"d = {d}"] = {
            price_title(each.arm): (each.coordinates, each.minus_elbo, kind)
            for each, kind in zip(own, kinds, strict=True)
        }
    runs = f"{len(records.prices)} runs, the first {records.prices[0].run[-16:-8]}"
    runs += f", published {records.borrowed[:10]}" if records.borrowed else ""
    added = [each for each in prices if each not in records.prices and each.arm not in AFTER_TRAINING]
    added = [f"{each.arm} d = {each.d} {each.run[-16:-8]}" for each in added]
    return figures.price_list(arms, made_by=f"{_study(records)}, {'; '.join([runs, *added])}")


def _kind(price):
    return "afterwards" if price.arm in AFTER_TRAINING else "none" if price.coupling is None else "field"


def dose_response(records):
    """`figures.dose_response`, with the power law of `vaept.companion.claims.cost_exponent`."""
    series = records.couplings
    exponent, used = cost_exponent(series)
    costs = series.minus_elbo - series.minus_elbo[0]
    made_by = (
        f"{_study(records)}, d = {records.couplings_dim}, {costs.shape[1]} members, run {series.runs[1][-16:-8]} …"
    )
    return figures.dose_response(
        series.values[1:], series.coordinates[1:], costs[1:], exponent.mean, used[1:], made_by=made_by
    )


def persistence(records):
    """`figures.persistence` for every latent dimension."""
    first = next(iter(records.aftermath.values()))
    made_by = f"{_study(records)}, {first.minus_elbo.shape[1]} members, last run {first.runs[-1][-16:-8]}"
    agreement = {f"d = {d}": series.coordinates for d, series in records.aftermath.items()}
    losses = {f"d = {d}": series.minus_elbo for d, series in records.aftermath.items()}
    return figures.persistence(first.values, agreement, losses, made_by=made_by)


def left_by_rotations(d, members, repeats=400):
    """How far maps agree after the best signed permutation if they are one round map, each turned at random.

    Returns the mean and the ends of the central 95 % of the mean over all pairs of so many members, as a tuple.
    """
    turns = ortho_group(d, seed=0).rvs(repeats * members).reshape(repeats, members, d, d)
    i, j = np.triu_indices(members, k=1)
    found = np.abs(np.swapaxes(turns[:, i], -1, -2) @ turns[:, j]).reshape(-1, d, d)
    best = [each[linear_sum_assignment(-each)].mean() for each in found]
    means = np.reshape(best, (repeats, -1)).mean(axis=1)
    return (means.mean(), *np.quantile(means, [0.025, 0.975]))


def likeness(records, d=2):
    """How much each member of the arms without a field resembles the corrected ones.

    Parameters
    ----------
    records : Records
    d : int

    Returns
    -------
    dict from str to ndarray of shape (members,)
        For the title of each arm: R² of the mean corrected map, after the best rotation of the member. A corrected
        member is compared with the mean of the others.
    """
    corrected, found = records.arms["corrected", d].mean.astype(float), {}
    for name in ("cold", "warm", "corrected"):
        values = []
        for number, points in enumerate(records.arms[name, d].mean.astype(float)):
            others = np.delete(corrected, number, axis=0) if name == "corrected" else corrected
            target = others.mean(axis=0) - others.mean(axis=(0, 1))
            centred = points - points.mean(axis=0)
            turn, _ = orthogonal_procrustes(centred, target)
            values.append(1 - ((centred @ turn - target) ** 2).sum() / (target**2).sum())
        found[arm(name).title] = np.array(values)
    return found


def arrangements(records):
    """`figures.arrangements`, d = 2."""
    names = ("cold", "warm", "corrected")
    losses = {arm(name).title: records.arms[name, 2].minus_elbo for name in names}
    return figures.arrangements(likeness(records), losses, made_by=_made_by(records, names, [2]))


def class_accuracy(latents, labels, n_neighbors=10, folds=5):
    """How well the nearest neighbours of latents predict their classes, by cross-validation.

    Parameters
    ----------
    latents : array, shape (n, d)
    labels : array of int, shape (n,), or None

    Returns
    -------
    float
        A share; NaN where there are fewer than two classes, or too few latents of one for every fold.
    """
    counts = [] if labels is None else np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or min(counts) < folds or len(labels) - -(-len(labels) // folds) < n_neighbors:
        return np.nan
    return float(cross_val_score(KNeighborsClassifier(n_neighbors), latents, labels, cv=folds).mean())


def correlation(x, y):
    """Pearson's correlation of two numbers of each member: an `Estimate` with its 95 % interval.

    NaN if one is constant. Of three members the interval is from −1 to 1.
    """
    if min(np.ptp(x), np.ptp(y)) == 0 or len(x) < 3:
        return Estimate(np.nan, np.nan, np.nan)
    found = pearsonr(x, y)
    return Estimate(found.statistic, *(found.confidence_interval() if len(x) > 3 else (-1, 1)))


def apart(intervals):
    """How many pairs of members have a level whose intervals do not overlap, and how many pairs there are.

    Parameters
    ----------
    intervals : array, shape (members, levels, 2)
    """
    i, j = np.triu_indices(len(intervals), k=1)
    (low, high), (other_low, other_high) = (np.moveaxis(np.asarray(intervals)[k], -1, 0) for k in (i, j))
    found = (np.maximum(low, other_low) > np.minimum(high, other_high)).any(axis=1)
    return int(found.sum()), len(found)


def off_the_seeds(spectra, others):
    """How far the first d levels of other densities are from their mean over seeds, on average, in per cent.

    Parameters are as for `figures.levels_beside_seeds`, with names "d = 2"; for each of the others a dict from d.
    """
    means = {int(name[4:]): np.mean(levels, axis=0) for name, (levels, _) in spectra.items()}
    return {
        other: {
            d: 100 * np.abs(own[f"d = {d}"][0][1 : d + 1] / mean[1 : d + 1] - 1).mean() for d, mean in means.items()
        }
        for other, own in others.items()
    }


def gap_by_chance(n, members, within, blur=0.3):
    """By how much the lowest two levels of a round cloud of n images differ, relative to the first: 95th percentile.

    Of one cloud for each member the one with the largest gap counts; `within` is the mean variance of posteriors.
    """
    clouds = wishart(n - 1, np.eye(2) / (n - 1)).rvs(2000 * members, random_state=0)
    narrow, wide = (max(0, 1 - within) * np.linalg.eigvalsh(clouds) + within + blur**2).T
    return np.quantile((wide / narrow - 1).reshape(members, -1).max(axis=0), 0.95)


def over_plane(energy, low, high, top, n=120):
    """A free energy over a rectangle of the plane, for a map.

    Parameters
    ----------
    energy : FreeEnergy
        Of two dimensions.
    low, high : array, shape (2,)
        Corners of the rectangle.
    top : float
        What is higher is left blank, as NaN.
    n : int
        Points along each axis.

    Returns
    -------
    axes : list of two arrays, shape (n,)
    heights : ndarray, shape (n, n)
        At (second axis, first axis).
    """
    axes = [np.linspace(*ends, n) for ends in zip(low, high, strict=True)]
    heights = energy(np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)).reshape(n, n)
    return axes, np.where(heights > top, np.nan, heights)


def linear_shares(values, latents):
    """The share of the variance of modes, shape (n, m), that linear functions of the latents, (n, d), explain: (m,)."""
    design = np.column_stack([np.ones(len(latents)), latents])
    residual = values - design @ np.linalg.lstsq(design, values)[0]
    return 1 - residual.var(axis=0) / values.var(axis=0)


def followed(values, dataset, labels):
    """Shares of the variance of modes, (n, m), of test images: between classes, and by properties of pictures, (m,)."""
    shares, known = {}, {}
    if labels is not None:
        shares["class"] = linear_shares(values, labels[: len(values), None] == np.unique(labels))
    if "probes" not in interchange.left_out(dataset):
        known = interchange.properties(dataset.test[: len(values)].reshape(-1, *dataset.image_shape))
    rows = {name: np.isfinite(own) for name, own in known.items()}
    return shares | {name: linear_shares(values[rows[name]], own[rows[name], None]) for name, own in known.items()}


def ends(values, labels):
    """Which classes lie at the ends of modes.

    Parameters
    ----------
    values : array, shape (n, modes)
        Eigenfunctions at the latents of the first n images.
    labels : array of int, or None
        Of the images.

    Returns
    -------
    classes : ndarray of int, shape (k,)
    shares : ndarray, shape (modes, 2, k)
        At the low and at the high end. Both are None without labels.
    """
    if labels is None:
        return None, None
    labels, few = labels[: len(values)], max(1, len(values) // clustering.TAIL)
    classes, ranked = np.unique(labels), labels[np.argsort(values, axis=0)].T
    tails = np.stack([ranked[:, :few], ranked[:, -few:]], axis=1)
    return classes, (tails[..., None] == classes).mean(axis=2)


def states_and_classes(member, labels):
    """How many images of each class (columns) lie in each group of a `Member` (rows), ndarrays of int.

    Of metastable states and of groups of k-means.
    """
    labels = labels[: clustering.IMAGES]
    classes = np.unique(labels)
    found = clustering.groups(member, len(classes))
    both = (found[name] for name in ("slow_modes", "k_means"))
    return [_counts(groups, np.arange(len(classes)), labels, classes) for groups in both]


def majorities(groups, labels, k):
    """The most frequent class of each of k groups.

    Parameters
    ----------
    groups, labels : arrays of int, shape (n,)
        The group, from 0 to k − 1, and the class of each image.

    Returns
    -------
    order : ndarray of int, shape (k,)
        The groups in the order of these classes.
    words : list of str
        For each group in this order its class and the share of that.
    """
    classes = np.unique(labels)
    counts = _counts(groups, np.arange(k), labels, classes)
    most, shares = classes[counts.argmax(axis=1)], counts.max(axis=1) / np.maximum(counts.sum(axis=1), 1)
    order = np.argsort(most, kind="stable")
    return order, [f"{most[group]}: {shares[group]:.0%}" for group in order]


def _counts(groups, names, labels, classes):
    return (groups == names[:, None]).astype(int) @ (labels[:, None] == classes)


def _study(records):
    return f"profile {records.profile}, data {records.data}"


def _made_by(records, names, dims):
    runs = "; ".join(f"{name} d = {d} {records.arms[name, d].run[-16:-8]}" for d in dims for name in names)
    return f"{_study(records)}, runs {runs}"
