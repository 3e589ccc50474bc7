"""What chapter 5 says of fields, in words that are true of any study."""

import numpy as np

from vaept.companion import analysis, benchmarks
from vaept.companion.checks_training import AGREED, LAB, LASTING, UNRELATED, coupling_at, difference, warm_turned
from vaept.companion.markdown import shown
from vaept.companion.profiles import arm
from vaept.companion.records import all_published, published
from vaept.companion.wording import joined, lasting, listed, said, side
from vaept.vae.agreement import compare_pair, mean_over_members

ALIKE = 0.05  # as far as which two labs agree about as far as their fields
DOSE_MARKS = {"v": "; triangles: at most so much", "X": "; crosses: below 0"}
ROTATION = 0.9  # R² from which a rotation explains nearly all
FEW = 3  # members of which a bootstrap interval runs from the least to the greatest
ROWS = {  # words in the names of arms, and what is said of the list if it has such an arm
    "_kept": "A field that is kept acts to the end, others are switched off.",
    "start_": "Some fields act, at full strength, for a first share of the training only.",
    "random_network": "An untrained network: its outputs are the field.",
    "trained": "One trained model: its latents are the field.",
    "same_": "Some plain models share a part of their random numbers.",
}


def few(records):
    """What an interval of few members is worth, where there are few: a sentence or ""."""
    members = len(records.arms["cold", records.latent_dims[0]].minus_elbo)
    if members != FEW:
        return ""
    return (
        f"(“95 %” intervals of {members} members run from the least to the greatest value here, of members or of pairs "
        "of them: read them as ranges.)"
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


def best_turned(records):
    """How far turned members without a field agree, for each d an `Estimate`: the better of a cold and a warm start."""
    return {d: own for d, (_, own) in _turned(records).items()}


def _turned(records):
    """For each d the start, "cold" or "warm", after which turned members agree better, and how far."""
    found = {}
    for d in records.all_dims:
        both = {"cold": records.price("cold, turned", d), "warm": warm_turned(records, d)}
        if own := {name: each.coordinates for name, each in both.items() if each}:
            found[d] = max(own.items(), key=lambda each: each[1].mean)
    return found


def turned(records):
    """How far members without a field agree that were turned onto each other, and with which start: a sentence."""
    found = [f"{shown(own, '.3f')} at d = {d} ({name} start)" for d, (name, own) in _turned(records).items()]
    return f"Turned onto each other, members without a field agree to {', '.join(found)}: the better of two starts."


def turning(records):
    """For each d where the agreement of corrected members lies beside that of `best_turned`, as `side` has it.

    "enough" instead of "above" where turned ones agree as far as is asked for.
    """
    found = {d: side(own) for d, own in gained(records).items()}
    turned = best_turned(records) if found else {}
    return {d: "enough" if own == "above" and turned[d].low >= AGREED else own for d, own in found.items()}


def gained(records):
    """How much more corrected members agree than `best_turned`: for each d an `Estimate`."""
    turned = best_turned(records) if records.prices else {}
    own = {d: records.arms["corrected", d] for d in turned if ("corrected", d) in records.arms}
    return {d: difference(each.agreement.coordinates, turned[d]) for d, each in own.items()}


def after_rotation(records, d=2):
    """What sets plain members apart even after the best rotation: a sentence."""
    found = {name: records.arms[name, d].agreement.orthogonal.mean for name in ("cold", "warm")}
    told = f"After the best rotation R² between members without a field is {found['cold']:.2f} with a cold start and "
    told += f"{found['warm']:.2f} with a warm one: "
    more = [name for name, own in found.items() if own < ROTATION]
    if len(more) == 1:
        told += f"more than a rotation sets them apart with the {more[0]} start, hardly more with the other"
        return f"{told}{_in_trials('warm' if more == ['cold'] else 'cold', d)}."
    return f"{told}{'more' if more else 'hardly more'} than a rotation sets them apart."


def _in_trials(start, d):
    """What R² after the best rotation was with this start in a trial that the chapter lists; "" if none is known."""
    try:
        trials = benchmarks.results("recipes")
    except (FileNotFoundError, TypeError):  # not measured, or no checkout
        return ""
    for each in trials:
        if each["d"] == d and not each["coupling"] and ("warm_start" in each["schedule"]) == (start == "warm"):
            where = f"measured on {each['data']}, {each['members']} members, {each['epochs']} epochs"
            return f" (in a trial below {each['rotated']:.2f}, {where})"
    return ""


def against_turning(records):
    """How many arms of the price list agree clearly more than plain models that were turned, in one sentence."""
    told = []
    for d, turned in best_turned(records).items():
        own = [each.coordinates for each in analysis.priced(records) if each.d == d and _in_shared_field(each)]
        if own:
            more = sum(each.low > turned.high for each in own)
            told.append(f"{more} of {len(own)} at d = {d}")
    return f"Arms of the list in a field that agree clearly more than turned models: {', '.join(told)}." if told else ""


def _in_shared_field(price):
    """Whether a `Price` is that of members who were trained in one field, and not in a shuffled one."""
    return price.coupling is not None and arm(price.arm).field != "shuffled" and not arm(price.arm).own_field


def linear_against_turning(records):
    """Whether the linear field brings more agreement than turning finished models: a sentence, or "" if it does not."""
    own = {each.d: each.coordinates for each in analysis.priced(records) if each.arm == "principal"}
    turned = best_turned(records)
    found = {d: side(difference(each, turned[d])) for d, each in own.items() if d in turned}
    return said(found, above="A field of principal components brings more agreement than turning{at}.")


def rows_of(records):
    """What some rows of the price list are, if it has them: sentences."""
    names = [each.arm for each in records.prices]
    return " ".join(words for part, words in ROWS.items() if any(part in name for name in names))


def like_their_fields(records):
    """Whether two labs agree as far as their fields do: a sentence, or "" where no labs have fields."""
    found = [abs(each.between.mean - each.fields) for each in records.labs if each.fields is not None]
    if not found:
        return ""
    if max(found) <= ALIKE:
        return f"Here two labs agree about as far as their fields do (to within {max(found):.3f})."
    few = sum(each <= ALIKE for each in found)
    return f"To within {ALIKE:g}, members of two labs agree as far as their fields do in {few} of {len(found)} rows."


def one_split(records):
    """How far fields of a second split of the images agree, where that is not as far as those of the labs: a sentence.

    "" where no labs were tried, or where both splits are alike.
    """
    arms, told = dict.fromkeys(each.arm for each in records.labs), []
    for name in (name for name in arms if arm(name).field in records.fields):
        halves = records.fields[arm(name).field]["halves"]
        first, last = halves[0], halves[-1]
        told += [f"{arm(name).title}: {last:.2f} instead of {first:.2f}"] if abs(last - first) > ALIKE else []
    which = "Only one split of the images was tried for labs; fields from a second split agree less well or better"
    return f"{which} over all their components ({joined(told)})." if told else ""


def published_labs():
    """What two labs with subspace fields reached in published runs: words, or "" outside of a checkout."""
    told = []
    for records in all_published():
        own = {each.d: each.between.mean for each in records.labs if each.arm == LAB}
        told += [f"published ({records.data}) {listed(own)}"] if own else []
    where = "agreement in the finished studies whose results come with this book"
    return f" ({where}: {'; '.join(told)})" if told else ""


def labs(records, found):
    """What two labs that use subspace fields reach, from what the check found, in this copy or in the published run."""
    own = records if found else published("digits")
    reached = {each.d: each.between for each in own.labs if each.arm == "subspace"}
    if not found:
        verdict = "at least" if all(each.low >= LASTING for each in reached.values()) else "not everywhere clearly"
        told = f"This copy has no row of it. Published, measured on digits, are {listed(reached)}: {verdict} the "
        return f"{told}{LASTING} that was asked for."
    yes = f"With it two labs that have never met agree to {{value}}: at least the {LASTING} that was asked for."
    no = f"With it two labs agree to {{value}}, which is not clearly the {LASTING} that was asked for."
    return said(found, reached, yes=yes, no=no)


def full_covariance(records):
    """What a field does where every rotation is an exact symmetry, and whether more than a rotation differs without."""
    small = analysis.with_arm(records, "turnable_corrected")
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
    falls = "In further epochs −ELBO still falls{at}, so members had not converged: what the field costs or gains "
    return said(found, below=f"{falls}at convergence is not known.")


def other_start():
    """Whether another initialisation gains as much as a field does, as the benchmark found: a sentence or ""."""
    try:
        found = benchmarks.results("pythae_field")
    except (FileNotFoundError, TypeError):  # not measured, or no checkout
        return ""
    own = [row for row in found["rows"] if row["trainer"] == "vaept"]
    losses = {(row["d"], row["arm"]): np.mean(row["minus_elbo"]) for row in own}
    if all(losses[d, "first layer"] < loss for (d, name), loss in losses.items() if name == "field"):
        gains = []
        for name in ("first layer", "field"):
            gains.append(listed({d: losses[d, "plain"] - loss for (d, each), loss in losses.items() if each == name}))
        told = "Another initialisation of one layer can bring more in −ELBO without a field"
        told += f": {gains[0]} (nats); a field {gains[1]} (chapter 8, measured on digits, {found['epochs']} epochs). "
        theirs = {(row["d"], row["arm"]): np.mean(row["minus_elbo"]) for row in found["rows"] if row not in own}
        theirs = {d: theirs[d, "plain"] - loss for (d, name), loss in theirs.items() if name == "field"}
        return told + f"From the weights of another package (there too) a field gains {listed(theirs)}."
    return ""


def wells(records):
    """How far members in a potential that knows no image agree, beside those without any: a sentence."""
    small = analysis.with_arm(records, "wells")
    d = small.latent_dims[-1]
    own, warm = (small.arms[name, d].agreement.coordinates for name in ("wells", "warm"))
    clear = own.low > warm.high
    reached, beside = (shown(each, ".2f") for each in (own, warm))
    told = (
        f"Its members agree to {reached}, {'' if clear else 'not '}clearly more than the {beside} without any potential"
    )
    return f"{told}{', against the argument' if clear else ''}."


def aftermath(held, records):
    """What became of agreement in further training, as `vaept.companion.wording.lasting`, with "wide" for "short".

    "wide" where the interval at the end holds what was asked for, "held" if agreement even rose.
    """
    found = lasting(held, records.aftermath)
    for d in [d for d, own in found.items() if own == "short"]:
        before, after = (records.aftermath[d].coordinates[k] for k in (0, -1))
        if after.high >= LASTING:
            found[d] = "held" if after.mean >= before.mean else "wide"
    return found


def further_epochs(records):
    """After how many epochs without a field agreement was compared last."""
    return joined(sorted({f"{own.values[-1]:g}" for own in records.aftermath.values()}))


def undecided(lengths, couplings=None):
    """Why the couplings of trainings of several lengths leave open whether a longer one needs a weaker field.

    `couplings` is the `Series` of one length, of which it is told between which of them agreement passes ½.
    """
    if not lengths:
        return "That was not tried here."
    tried = {epochs: joined(f"{each:g}" for each in own.values[1:]) for epochs, own in sorted(lengths.items())}
    if all(len(own.values) == 2 for own in lengths.values()):
        each = list(dict.fromkeys(tried.values()))
        several = "both" if len(tried) == 2 else "all of"
        told = f"That is open: only λ = {each[0]} was tried at {several} {joined(tried)} epochs"
        told = told if len(each) == 1 else f"That is open: one λ was tried at each of {joined(tried)} epochs"
        if couplings is None or np.isnan(coupling_at(couplings).mean):
            return f"{told}."
        reached = next(k for k, each in enumerate(couplings.coordinates) if k and each.mean >= 1 / 2)
        low, high = couplings.values[[reached - 1, reached]]
        return f"{told}; the figure above has others, all of one length, and λ(½) between {low:g} and {high:g}."
    if len(set(tried.values())) == 1:
        told = f"Agreement does not pass ½ between two of the λ that were tried ({next(iter(tried.values()))}) after "
        return f"{told}each of {joined(tried)} epochs: that leaves it open."
    return "Agreement does not pass ½ between two of the λ that were tried at every length: that leaves it open."


def drawn(figure, words):
    """Of words for marks in a figure, a dict by marker, those that are drawn; none if it is no figure."""
    lines = [line for axis in getattr(figure, "axes", ()) for line in axis.lines]
    found = {line.get_marker() for line in lines if len(line.get_xdata())}
    return "".join(own for marker, own in words.items() if marker in found)
