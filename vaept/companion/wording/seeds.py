"""What chapters 3 and 4 say of seeds and of their spectra, in words that are true of what was measured."""

import numpy as np

from vaept.companion.checks_training import DIFFERENT, EQUAL_LOSS, HALF
from vaept.companion.markdown import escaped, shown
from vaept.companion.wording import joined, listed, said, side


def same_model(found, symmetry):
    """Whether seeds make the same model, in sentences by name, from what the checks of C1 and C2 found."""
    loss, permuted, rotation = found["loss"], found["permuted"], symmetry["rotation"]
    good = said(
        loss,
        yes="Judged by its loss, it is nearly the same{at}.",
        no="Judged by its loss, it is not the same{at}.",
    )
    alike = said(
        permuted,
        yes="Judged by its coordinates, it is not{at}: even after flips and exchanges they differ.",
        no="Judged by its coordinates, it may well be{at}: flips and exchanges make them much alike.",
    )
    return {"same": f"{good} {alike}", "counted": _counted(loss, permuted), "rotated": _rotated(rotation)}


def _counted(loss, permuted):
    """Whether members count as equal and as different, from what was found for each d: sentences."""
    both = {d: f"{equal}_{permuted.get(d, 'none')}" for d, equal in loss.items()}
    equal, unequal = "The members of this copy are equal in loss", "The members of this copy are not equal in loss"
    told = said(
        both,
        yes_yes=f"{equal} and different in their coordinates{{at}}.",
        yes_no=f"{equal}, and do not count as different in their coordinates{{at}}.",
        yes_none=f"{equal}{{at}}.",
        no_yes=f"{unequal}{{at}}, so that their coordinates, which are different, may differ for other reasons.",
        no_no=f"{unequal}, and do not count as different in their coordinates{{at}}.",
        no_none=f"{unequal}{{at}}.",
    )
    return f"In that sense, {told[0].lower()}{told[1:]}" if told else ""


def _rotated(found):
    """How much of the difference a rotation explains, from what was found for each d: one sentence."""
    arranged = "the maps differ in other ways as well"
    yes, no = ([d for d, answer in found.items() if answer == which] for which in ("yes", "no"))
    if not (yes and no):
        return said(
            found,
            yes="A rotation explains nearly all of the difference{at}.",
            no=f"A rotation explains only part of the difference{{at}}: {arranged}.",
        )
    return (
        f"A rotation explains only part of the difference at d = {joined(no)}, where {arranged}, "
        f"and nearly all of it at d = {joined(yes)}."
    )


def groove(rotation):
    """What came of the conjecture of chapter 1, from what the check of C2 found for each d: sentences."""
    limit = f"{DIFFERENT:g}"
    return said(
        rotation,
        yes=f"It holds{{at}}: the best rotation explains at least {limit} of the variance.",
        no=f"It does not hold{{at}}: the best rotation does not clearly explain {limit} of the variance.",
        none="It could not be tested{at}.",
    )


def over_pairs(members):
    """How far the intervals of a mean over pairs of so many members can be trusted: a sentence."""
    pairs = members * (members - 1) // 2
    if members < 3:
        return "Of one pair there is no interval."
    if members < 5:  # one resample in twenty holds no other pair than the lowest
        return f"With {members} members such an interval is no more than the range over their {pairs} pairs."
    return f"With {members} members such intervals are somewhat too narrow."


def loose(records, gains):
    """How much the members may differ and still count as equal, in nats, beside how much they do: sentences.

    Beside it stands the effect of a field, `Estimate`s for some d.
    """
    losses = {d: records.arms["cold", d].minus_elbo for d in records.latent_dims}
    limits = {d: EQUAL_LOSS * abs(own.mean()) for d, own in losses.items()}
    spreads = listed({d: own.std(ddof=1) for d, own in losses.items()}, spec=".2g")
    found = {d: "yes" if limits[d] > abs(gain.mean) else "no" for d, gain in gains.items() if d in limits}
    beside = said(
        found,
        gains,
        yes="It is a loose limit{at}: larger than what a field changes in chapter 5 ({value}).",
        no="It is no larger than what a field changes in chapter 5{at} ({value}).",
    )
    return f"In nats, the limit is {listed(limits, spec='.2g')}; the deviation is {spreads}. {beside}".strip()


def better_turned(small, large):
    """That maps with more coordinates agree better after a rotation, if they do; from `Estimate`s of R²: a sentence."""
    return "After a rotation members agree better with more coordinates." if large.low > small.high else ""


def grown(records):
    """What it means that members with one source of randomness of their own differ, where a study has such members."""
    if not any(records.price(f"vary_{source}", d) for source in ("order", "noise") for d in records.latent_dims):
        return ""
    return (
        "Where members differ although they share everything but the order, or everything but the noise, a difference "
        "that was tiny at first has grown during training. So it is with a marble near the middle of the table, where "
        "every small push leads further away."
    )


def elsewhere(records, others):
    """Where the comparison of sources was made, if not for this copy: a sentence, or ""."""
    if others is records:
        return ""
    when = others.provenance["created"][:10]
    return (
        f"In this copy no source was held fixed by itself; below is what was measured on {others.data}, as of {when}."
    )


def sources(found):
    """Whether members that share one source of randomness differ, in words, from what the checks of C1 found."""
    names = {"weights": "initial weights", "order": "order of batches", "noise": "noise"}
    told = [
        said(
            found[f"same {source}"],
            yes=f"Members that share the {words} still differ{{at}}.",
            no=f"Members that share the {words} do not count as different{{at}}.",
        )
        for source, words in names.items()
    ]
    return " ".join(filter(None, told)) or "In this copy no source was held fixed by itself."


def decisive(records):
    """Which source, if it alone is shared, makes coordinates agree most, if one clearly does: sentences."""
    names = {"same_weights": "initial weights", "same_order": "order of batches", "same_noise": "noise"}
    found = {}
    for d in records.all_dims:
        own = {name: price.coordinates for name in names if (price := records.price(name, d))}
        if len(own) == len(names):
            first, *others = sorted(own, key=lambda name: -own[name].mean)
            clear = own[first].low > max(own[name].high for name in others)
            found[d] = first if clear else "none"
    return said(
        found,
        none="No source clearly decides{at}: whichever of the three is shared, coordinates as they are agree alike.",
        **{
            name: f"Of the three it is the {words} that matter{{at}}: members that share {pronoun} agree clearly best "
            "as they are."
            for (name, words), pronoun in zip(names.items(), ("them", "it", "it"), strict=True)
        },
    )


def predicted(found, ratio, turning):
    """Whether turning costs what the widths predict, in words.

    Parameters are, each for some d, what the check of C2 found, its `Estimate` and a `vaept.uses.turning.Turning`.
    """
    signs = {d: np.sign([own.foretold.mean(), own.measured.mean()]).prod() for d, own in turning.items()}
    found = {d: "other" if answer == "no" and signs[d] < 0 else answer for d, answer in found.items()}
    negative = {d: "yes" if (own.measured.mean(axis=1) < 0).any() else "no" for d, own in turning.items()}
    told = said(
        found,
        yes="Prediction and measurement agree to within a quarter{at}.",
        no="Prediction and measurement do not agree to within a quarter{at}.",
        other="Prediction and measurement differ even in sign{at}.",
    )
    why = said(
        negative,
        yes="For some members turning seems to gain{at}: there the posteriors are not the best along their axes, or "
        "the cost is smaller than the error of sampling.",
    )
    return f"{told} (Foretold over measured, by members: {listed(ratio)}.) {why}".strip()


def fingerprint(found, apart):
    """Whether levels tell densities apart and seeds not: some sentences.

    Parameters are what the checks of C3 found, and for each d how many pairs of seeds differ, and of how many.
    """
    others = {d: min(found["shuffled"][d], found["Gaussian"][d]) for d in found["levels"]}  # "no" if either is
    told = [
        said(
            found["levels"],
            yes="The seeds of this copy share theirs to a tenth{at}.",
            no="The seeds of this copy do not clearly share theirs to a tenth{at}.",
        ),
        said(
            {d: "yes" if differ else "no" for d, (differ, _) in apart.items()},
            yes="Looked at closely these differ{at}, by more than the draws explain.",
        ),
        said(
            others,
            yes="Those of a Gaussian of the same covariance and of a shuffled map are at least twice as far away{at}.",
            no="Those of a Gaussian of the same covariance, or of a shuffled map, are not clearly twice as far "
            "away{at}, so that levels tell little there beyond the covariance, or each coordinate by itself.",
        ),
    ]
    return " ".join(filter(None, told))


def ladders(values, apart):
    """How far levels differ, in numbers, from what was `measured` for C3 and from `apart` as in `fingerprint`."""
    own = ", ".join(f"{shown(100 * value.mean, '.2g')} % at d = {d}" for d, value in values["levels"].items())
    closely = ", ".join(f"{differ} of {pairs} pairs at d = {d}" for d, (differ, pairs) in apart.items())
    return (
        f"A level of one seed is on average {own} away from its mean over seeds. That is, as a share of how far the "
        f"levels of a Gaussian of the same covariance are away, {listed(values['Gaussian'])}; of how far those of a "
        f"shuffled map are, {listed(values['shuffled'])}. (At most {HALF:g} was asked for.) Pairs of seeds of which "
        f"some level has intervals that do not overlap: {closely}."
    )


def split_pair(gap):
    """What it means that the lowest two levels differ by this share of the first: a sentence."""
    if gap < 0.05:
        return (
            f"The levels of modes 1 and 2 are only {gap:.1%} apart, so the direction of mode 1 among those that both "
            "span is nearly an accident."
        )
    return f"The levels of modes 1 and 2 are {gap:.0%} apart, so mode 1 has a direction of its own."


def modes_and_classes(difference):
    """Whether slow modes tell more of the classes than positions; from `Estimate`s of C6 for each d: sentences."""
    told = said(
        {d: side(value) for d, value in difference.items()},
        difference,
        above="Groups made from slow modes match the classes better than groups made from positions{at} ({value}).",
        below="Groups made from slow modes match the classes worse than groups made from positions{at} ({value}).",
        unclear="Groups made from slow modes match the classes neither clearly better nor clearly worse than groups "
        "made from positions{at} ({value}).",
    )
    beside = "These are adjusted Rand indices less those of k-means, of corrected members, in the tests of **C6**."
    return f"{told} {beside}" if told else ""


def ramp(straight):
    """What a mode is of whose variance a linear function of the latents explains this share: a sentence."""
    if straight >= 0.9:
        return "Mode 1 is hardly more than a direction: what takes longest is to cross the cloud where it is widest."
    return "Mode 1 is more than a direction: it sets regions apart between which it is hard to pass."


def mode_ends(classes, shares, few):
    """Which classes lie at the ends of the first mode: a sentence, or "" where there are no two classes.

    Classes and shares are as `vaept.companion.report.ends` returns them, of `few` images at either end. Its low end is
    orange where it is drawn (`DIVERGING`).
    """
    if classes is None or len(classes) < 2:
        return ""
    low, high = (f"{end.max():.0%} are of class {escaped(str(classes[end.argmax()]))}" for end in shares[0])
    return f"Of the {few} images furthest towards its orange end {low}; of as many at its purple end {high}."
