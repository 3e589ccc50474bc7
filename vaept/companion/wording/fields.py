"""What chapter 5 says of fields, in words that are true of any study."""

import numpy as np

from vaept.companion import report, tables
from vaept.companion.checks_training import AGREED, LASTING, UNRELATED
from vaept.companion.profiles import arm
from vaept.companion.wording import listed, said, side
from vaept.vae.agreement import Estimate, compare_pair, mean_over_members

FEW = 3  # members of which a bootstrap interval runs from the least to the greatest
ROWS = {  # words in the names of arms, and what is said of the list if it has such an arm
    "_kept": "A field that is kept acts to the end, others are switched off.",
    "start_": "Some fields act, at full strength, for a first share of the training only.",
    "random_network": "An untrained network: its outputs are the field.",
    "trained": "One trained model: its latents are the field.",
    "same_": "Some plain models share a part of their random numbers.",
}


def difference(one, other):
    """The difference of two `Estimate`s from different members; its interval takes their ends at their worst."""
    return Estimate(one.mean - other.mean, one.low - other.high, one.high - other.low)


def few(records):
    """What an interval of few members is worth, where there are few: a sentence or ""."""
    members = len(records.arms["cold", records.latent_dims[0]].minus_elbo)
    if members != FEW:
        return ""
    return (
        f"(Intervals of {members} members here run from the least to the greatest of their values. Such an "
        "interval holds the median of all possible members in 3 of 4 cases, not in 95 of 100.)"
    )


def is_the_field(records, found):
    """Whether members agree because of the field, and whether the controls do what they should: sentences.

    `found` is what the checks of C4 found, as `vaept.companion.tables.answers`.
    """
    own = {}
    for d in records.latent_dims:
        reached = {name: records.arms[name, d].agreement.coordinates for name in ("corrected", "warm", "shuffled")}
        clear = reached["corrected"].low > max(reached["warm"].high, reached["shuffled"].high)
        own[d] = "yes" if clear else "no"
    yes = "It is the field{at}: with the warm start alone, or in a shuffled field, members agree clearly less."
    told = [said(own, yes=yes, no="Whether it is the field cannot be told{at}.")]
    for name in ("cold", "warm"):
        missed = f"A sanity check fails{{at}}: with a {name} start and no field, agreement is not clearly below "
        told += [said(found[f"without {name}"], no=f"{missed}{UNRELATED}.")]
    return " ".join(filter(None, told))


def follows(records, values):
    """How far the coordinates of corrected members are those of their field, whose values at test images are given."""
    found, own = {}, {}
    for d in records.latent_dims:
        record = records.arms["corrected", d]
        field = values[: record.mean.shape[1], :d]
        found[d] = mean_over_members(np.array([compare_pair(each, field)[0] for each in record.mean]))
        own[d] = "less" if found[d].high < record.agreement.coordinates.low else "not clearly less"
    told = f"At the end their coordinates correlate with those of the neighbour field to {listed(found)}. "
    less = "That is less than with each other{at}: a latent does not simply become u."
    return told + said(own, **{"less": less, "not clearly less": "That is not clearly less than with each other{at}."})


def linear_or_neighbour(records):
    """In which of the two fields members agree better: sentences."""
    found = {}
    for d in records.latent_dims:
        own = (records.arms[name, d].agreement.coordinates for name in ("principal", "corrected"))
        found[d] = side(difference(*own))
    return said(
        found,
        above="In the linear field members agree better than in the neighbour field{at}.",
        below="In the linear field members agree less well than in the neighbour field{at}.",
        unclear="By agreement the linear and the neighbour field cannot be told apart{at}.",
    )


def against_turning(records):
    """How many arms of the price list agree clearly more than plain models that were turned, in one sentence."""
    told, plain = [], f"{records.prices[0].arm}, turned" if records.prices else ""
    for d in records.all_dims:
        turned = records.price(plain, d)
        own = [each.coordinates for each in report.priced(records) if each.d == d and _in_shared_field(each)]
        if turned and own:
            more = sum(each.low > turned.coordinates.high for each in own)
            told.append(f"{more} of {len(own)} at d = {d}")
    return f"Arms of the list in a field that agree clearly more than turned models: {', '.join(told)}." if told else ""


def _in_shared_field(price):
    """Whether a `Price` is that of members who were trained in one field, and not in a shuffled one."""
    return price.coupling is not None and arm(price.arm).field != "shuffled" and not arm(price.arm).own_field


def linear_against_turning(records):
    """Whether the linear field brings more agreement than turning finished models: a sentence, or "" if it does not."""
    own = {each.d: each.coordinates for each in report.priced(records) if each.arm == "principal"}
    turned = {d: records.price("cold, turned", d) for d in own}
    found = {d: side(difference(own[d], each.coordinates)) for d, each in turned.items() if each}
    return said(found, above="A field of principal components brings more agreement than turning{at}.")


def rows_of(records):
    """What some rows of the price list are, if it has them: sentences."""
    names = [each.arm for each in records.prices]
    return " ".join(words for part, words in ROWS.items() if any(part in name for name in names))


def labs(records, found):
    """What two labs that use subspace fields reach, from what the check found, in this copy or in the published run."""
    own = records if found else report.published("digits")
    reached = {each.d: each.between for each in own.labs if each.arm == "subspace"}
    if not found:
        verdict = "at least" if all(each.low >= LASTING for each in reached.values()) else "not everywhere clearly"
        told = f"This copy has no row of it. Published, measured on digits, are {listed(reached)}: {verdict} the "
        return f"{told}{LASTING} that was asked for. The ledger has other data."
    yes = f"With it two labs that have never met agree to {{value}}: at least the {LASTING} that was asked for."
    no = f"With it two labs agree to {{value}}, which is not clearly the {LASTING} that was asked for."
    return said(found, reached, yes=yes, no=no)


def full_covariance(records):
    """What a field does where every rotation is an exact symmetry, and whether more than a rotation differs without."""
    small = report.with_arm(records, "turnable_corrected")
    d = small.latent_dims[-1]
    own = {name: small.arms[name, d].agreement for name in ("turnable_corrected", "turnable", "warm")}
    works = "In the field such members agree too: it does more than follow the axes."
    fails = f"In the field such members do not clearly reach an agreement of {AGREED}."
    told = works if own["turnable_corrected"].coordinates.low >= AGREED else fails
    by = difference(own["turnable"].orthogonal, own["warm"].orthogonal)
    by = side(by) if by.mean < 0 else ""
    less = "Without a field they agree less after a rotation than diagonal ones do; why was not looked into."
    same = "Whether they agree less after a rotation than diagonal ones, without a field, cannot be told."
    return f"{told} {less if by == 'below' else same if by == 'unclear' else ''}".strip()


def unconverged(records):
    """Where −ELBO still falls when members are trained further: a sentence or ""."""
    found = {}
    for d, series in records.aftermath.items():
        found[d] = side(mean_over_members(series.minus_elbo[-1] - series.minus_elbo[0]))
    falls = "−ELBO still falls in these epochs{at}, so members had not converged: what the field costs or gains "
    return said(found, below=f"{falls}at convergence is not known.")


def other_start():
    """Whether another initialisation gains as much as a field does, as the benchmark found: a sentence or ""."""
    try:
        rows = tables.benchmark("pythae_field")["rows"]
    except (FileNotFoundError, TypeError):  # not measured, or no checkout
        return ""
    losses = {(row["d"], row["arm"]): sum(row["minus_elbo"]) for row in rows if row["trainer"] == "vaept"}
    if all(losses[d, "first layer"] <= loss for (d, name), loss in losses.items() if name == "field"):
        told = "Another initialisation of one layer brings as much in −ELBO"
        return f"{told} without a field (chapter 8, measured on digits)."
    return ""


def wells(records):
    """How far members in a potential that knows no image agree, beside those without any: a sentence."""
    small = report.with_arm(records, "wells")
    d = small.latent_dims[-1]
    own, warm = (small.arms[name, d].agreement.coordinates for name in ("wells", "warm"))
    clear = own.low > warm.high
    told = f"Its members agree to {own}, {'' if clear else 'not '}clearly more than the {warm} without any potential"
    if clear:
        return f"{told}, against the argument."
    return f"{told}{'; but the interval lies above 0, so the wells may have some hold' if own.low > 0 else ''}."
