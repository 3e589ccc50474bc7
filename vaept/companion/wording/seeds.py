"""What chapters 3 and 4 say of seeds and of their spectra, in words that are true of what was measured."""

import numpy as np

from vaept.companion.checks_training import DIFFERENT, EQUAL_LOSS, SAME_LEVELS
from vaept.companion.markdown import escaped
from vaept.companion.wording import grouped, joined, listed, said, side
from vaept.vae.agreement import Estimate, compare, mean_over_members


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


def unexplained(rotation):
    """What the best rotation leaves of the variance, from `Estimate`s of R² for each d: a sentence."""
    left = joined([f"{100 * (1 - value.mean):.0f} % at d = {d}" for d, value in rotation.items()])
    return f"Of the variance, the best rotation explains all but {left}."


def groove(rotation):
    """What came of the conjecture of chapter 1, from the outcome of the check of C2 for each d: sentences."""
    limit = f"{DIFFERENT:g}"
    return said(
        rotation,
        yes=f"It holds{{at}}: the best rotation explains at least {limit} of the variance.",
        no=f"It does not hold{{at}}: the best rotation does not clearly explain {limit} of the variance.",
        contrary=f"It does not hold{{at}}: the best rotation clearly explains less than {limit} of the variance.",
        none="It could not be tested{at}.",
    )


def conjecture(studies):
    """What became of both tests of the conjecture of chapter 1 in studies of these data: sentences, or "".

    For each study the name of its data, how many examples were trained on, for each d the outcomes of the checks of
    rotations (C2) and of the weakest push (C4), and the coupling of that push.
    """
    told = [
        f"In published ({data}), with {grouped(examples)} examples, the first {_became(rotation)}, the second "
        + (f"{_became(push)} at λ = {coupling:g}." if push else "was not made.")
        for data, examples, rotation, push, coupling in studies
    ]
    which = "The finished studies that come with this book are called “published”, here and later."
    return f"{which} {' '.join(told)}" if told else ""


def tally(studies):
    """How many tests of the conjecture came out how, from the same studies, in a sentence."""
    found = [answer for _, _, *tests, _ in studies for each in tests for answer in each.values() if answer != "none"]
    words = {"yes": ("holds", "hold"), "contrary": ("fails", "fail"), "no": ("is undecided", "are undecided")}
    told = [f"{n} {words[name][n > 1]}" for name in words if (n := found.count(name))]
    if not told:
        return "Later chapters test it."
    return f"Of its {len(found)} tests in the studies that come with this book {joined(told)}."


def refuted(studies):
    """For which data the same studies refute the conjecture: a rotation explains too little. A sentence or ""."""
    missed = {data: [d for d, answer in own.items() if answer == "contrary"] for data, _, own, *_ in studies}
    told = [f"published ({data}) at d = {joined(own)}" for data, own in missed.items() if own]
    return f"So one groove is refuted for {joined(told)}." if told else ""


def _became(found):
    words = {"yes": "holds", "no": "is undecided", "contrary": "fails", "none": "has no result"}
    dims = {name: [d for d, answer in found.items() if answer == name] for name in found.values()}
    return joined([f"{words[name]} at d = {joined(own)}" for name, own in dims.items()])


def over_pairs(members):
    """How far the intervals of a mean over pairs of so many members can be trusted: a sentence."""
    pairs = members * (members - 1) // 2
    if members < 3:
        return "Of one pair there is no interval."
    if members < 5:  # one resample in twenty holds no other pair than the lowest
        return f"With {members} members such an interval is no more than the range over their {pairs} pairs."
    return f"With {members} members such intervals are somewhat too narrow."


def loose(records, gains, flat):
    """How much the members may differ and still count as equal, in nats, beside how much they do: sentences.

    Beside it stand the effect of a field, `Estimate`s for some d, and what members gain over the score of one mean
    image, as from `vaept.companion.wording.yardsticks`.
    """
    losses = {d: records.arms["cold", d].minus_elbo for d in records.latent_dims}
    limits = {d: EQUAL_LOSS * abs(own.mean()) for d, own in losses.items()}
    spreads = listed({d: own.std(ddof=1) for d, own in losses.items()}, spec=".2g")
    found = {d: "yes" if limits[d] > abs(gain.mean) else "no" for d, gain in gains.items() if d in limits}
    beside = said(
        found,
        gains,
        yes="It is a loose limit{at}: larger than what training in a field, in chapter 5, changes ({value}).",
        no="It is no larger than what training in a field, in chapter 5, changes{at} ({value}).",
    )
    gained = listed({d: flat - own.mean() for d, own in losses.items()}, spec=".2g")
    told = (
        f"In nats, the limit is {listed(limits, spec='.2g')}; the deviation is {spreads}; what members gain over the "
    )
    return f"{told}mean image is {gained}. {beside}".strip()


def better_turned(small, large, dims):
    """That maps with more coordinates agree better after a rotation, if they do; from `Estimate`s of R²: a sentence."""
    told = "After a rotation members agree better at d = {1} than at d = {0}; why is not known."
    return told.format(*dims) if large.low > small.high else ""


def grown(records):
    """What it means that members with one source of randomness of their own differ, where a study has such members."""
    if not any(records.price(f"vary_{source}", d) for source in ("order", "noise") for d in records.latent_dims):
        return ""
    return (
        "Members that differ although they share everything but the order, or everything but the noise, began with the "
        "same weights, so that all of their difference has grown during training."
    )


def elsewhere(records, others):
    """Where the comparison of sources was made, if not for this copy: a sentence, or ""."""
    if others is records:
        return ""
    when, settings = others.provenance["created"][:10], others.provenance["settings"]
    return (
        f"In this copy no source was held fixed by itself; below is what was measured on {others.data}, with "
        f"{settings['prices_members']} members a row and {settings['epochs']} epochs, as of {when}."
    )


def unfinished(records, others):
    """What members of the same data, trained longer, say of the rest that a rotation leaves: a sentence, or ""."""
    epochs, longer = (each.provenance["settings"]["epochs"] for each in (records, others))
    here = {d: 1 - records.arms["cold", d].agreement.orthogonal.mean for d in records.latent_dims}
    there = {d: 1 - price.orthogonal.mean for d in here if (price := others.price("cold", d))}
    if longer <= epochs or others.data != records.data or not there:
        return ""
    left = listed({d: 100 * value for d, value in there.items()}, spec=".0f")
    told = said(
        {d: "no" if value > here[d] / 2 else "yes" for d, value in there.items()},
        yes="Most of the rest was training cut short{at}.",
        no="Training cut short is hardly all of it{at}.",
    )
    return f"(Of members trained for {longer} epochs instead of {epochs}, it leaves, in %, {left}. {told})"


def stretched(agreement):
    """What a linear map explains beyond a rotation, from the `Agreement` for each d: a sentence."""
    told = []
    for d, own in agreement.items():
        turned, linear = (f"{value.mean:.2f}" for value in (own.orthogonal, own.linear))
        told.append(f"{f'from {turned} to {linear}' if turned != linear else f'no further than {turned}'} at d = {d}")
    return f"Letting the map stretch, shear and shrink as well takes R² {joined(told)}."


def rotations_alone(records, ranges):
    """What flips and exchanges leave of maps that differ by a rotation alone, beside members: sentences.

    `ranges` has for each d the mean, low and high of `vaept.companion.analysis.left_by_rotations`.
    """
    found = {d: records.arms["cold", d].agreement.signed_permutation for d in ranges}
    beside = {
        d: "less" if found[d].mean < low else "more" if found[d].mean > high else "within"
        for d, (_, low, high) in ranges.items()
    }
    expected = listed({d: Estimate(*values) for d, values in ranges.items()}, spec=".2f")
    told = said(
        beside,
        found,
        less="Members agree less than that, {value}: more than a rotation sets them apart.",
        within="Members agree as far as that, {value}: there rotations alone would pass this test, and it shows "
        "that coordinates differ, not that maps do.",
        more="Members agree better than that, {value}: less than a rotation at random sets them apart.",
    )
    return f"Were they one round map, each turned at random, that mean would be {expected}. {told}"


def itself(records):
    """How far two noisy draws from the posteriors of one member agree, beside two members: a sentence."""
    draws, members = {}, {}
    for d in records.latent_dims:
        own = records.arms["cold", d]
        noise = np.random.default_rng(0).standard_normal((2, *own.mean[0].shape))
        draws[d] = compare(own.mean[0] + own.deviation[0] * noise, n_bootstrap=1).signed_permutation.mean
        members[d] = own.agreement.signed_permutation
    beside = said(
        {d: side(Estimate(*(end - draws[d] for end in (own.mean, own.low, own.high)))) for d, own in members.items()},
        members,
        below="members agree less than that{at}, {value}",
        unclear="members neither clearly less nor more{at}, {value}",
        above="members agree better{at}, {value}",
    )
    return (
        f"Two noisy draws from the posteriors of one member agree to {listed(draws)}: a scale and no ceiling; {beside}."
    )


def sources(found):
    """Whether members that share one source of randomness differ, in words, from what the checks of C1 found."""
    names = {"weights": "initial weights", "order": "order of batches", "noise": "noise"}
    told = [
        said(
            found[f"same {source}"],
            yes=f"Members that share only the {words} still differ{{at}}.",
            no=f"Members that share only the {words} do not count as different{{at}}.",
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
        none="No source clearly decides{at}: the intervals of r as it is cannot tell which helps most when shared "
        "alone.",
        **{
            name: f"Of the three it is the {words} that matter{{at}}: members that share only {pronoun} agree "
            "clearly best as they are."
            for (name, words), pronoun in zip(names.items(), ("them", "it", "it"), strict=True)
        },
    )


def rotated_rows(records):
    """Whether a rotation explains more for some sources than for others: sentences, of every d where it varies."""
    names = [f"{which}_{source}" for which in ("vary", "same") for source in ("weights", "order", "noise")] + ["cold"]
    told = []
    for d in records.all_dims:
        own = [price.orthogonal for name in names if (price := records.price(name, d))]
        least, most = (end([value.mean for value in own], default=0) for end in (min, max))
        if most - least > 0.1:
            overlap = max(value.low for value in own) <= min(value.high for value in own)
            beside = "but all its intervals (not printed) overlap" if overlap else "and not all its intervals overlap"
            told.append(f"R² of the rows runs from {least:.2f} to {most:.2f} at d = {d}, {beside}.")
    return " ".join(told)


def assumed(records):
    """How far posteriors are from the true ones, as far as that was measured: a sentence in brackets, or ""."""
    arms = {d: records.arms["cold", d] for d in records.latent_dims}
    gaps = {d: (own.log_likelihood + own.minus_elbo_of_these).mean() for d, own in arms.items()}
    gaps = {d: gap for d, gap in gaps.items() if not np.isnan(gap)}
    return f"(They are not: log p(x) minus ELBO is estimated as {listed(gaps, spec='.2g')}.)" if gaps else ""


def costs(turning):
    """What turning is foretold to cost and what it cost, in nats, from a `Turning` for each d: words by name."""
    return {
        "foretold": listed({d: own.foretold.mean() for d, own in turning.items()}, spec=".2g"),
        "measured": listed({d: mean_over_members(own.measured.mean(axis=1)) for d, own in turning.items()}, spec=".2g"),
    }


def predicted(found, ratio, turning):
    """Whether turning costs what the widths foretell, in words.

    Parameters are, each for some d, what the check of C2 found, its `Estimate` and a `vaept.uses.turning.Turning`.
    """
    sides = {d: side(mean_over_members(own.measured.mean(axis=1))) for d, own in turning.items()}
    found = {d: {"unclear": "unclear", "below": "other"}.get(sides[d], answer) for d, answer in found.items()}
    gaining = {d: own.measured.mean(axis=1) < 0 for d, own in turning.items()}
    gaining = [f"{own.sum()} of {len(own)} members at d = {d}" for d, own in gaining.items() if own.any()]
    told = said(
        found,
        ratio,
        yes="The cost foretold and the cost measured agree to within a quarter{at} (foretold over measured, the mean "
        "of members' ratios: {value}).",
        no="The cost foretold and the cost measured do not clearly agree to within a quarter{at}: foretold over "
        "measured, the mean of members' ratios, would have to lie within a quarter of 1 with its whole interval "
        "({value}).",
        other="Turning gains, where a cost was foretold{at}.",
        unclear="What was measured cannot be told from 0{at}, so the ratio of the cost foretold to it, below 0 for a "
        "member that gains, says nothing there; its test below, which asks for the whole interval, is not met then.",
    )
    if not gaining:
        return told
    return (
        f"{told} Turning seems to gain for {joined(gaining)}: there the posteriors are not the best along "
        "their axes, or the cost is smaller than the error of sampling."
    )


def fingerprint(found, values, apart):
    """Whether levels tell densities apart and seeds not: some sentences.

    Parameters are what the checks of C3 found and `measured`, and for each d how many pairs of seeds differ, and of
    how many.
    """
    own = listed({d: 100 * value.mean for d, value in values["levels"].items()}, spec=".2g")
    others = {d: min(found["shuffled"][d], found["Gaussian"][d]) for d in found["levels"]}  # "no" if either is
    told = [
        f"In per cent, the first d levels of a seed of this copy are on average {own} away from their mean over seeds "
        "(in the ledger, by other draws than those of the figure). "
        f"Divided by how far Gaussians of the same covariance are, that is {listed(values['Gaussian'])}; by how far "
        f"maps with shuffled coordinates are, {listed(values['shuffled'])}.",
        said(
            {d: "yes" if differ else "no" for d, (differ, _) in apart.items()},
            yes="Looked at closely seeds differ{at}, by more than the draws explain.",
        ),
        said(
            others,
            yes="Both are clearly at least twice as far away{at} as seeds are.",
            no="One or both are not clearly twice as far away{at} as seeds are, so that levels tell little there "
            "beyond the covariance, or each coordinate by itself.",
        ),
    ]
    return " ".join(filter(None, told))


def told_apart(found):
    """Whether seeds have more in common than with other densities, from what the checks of C3 found: sentences."""
    return said(
        {d: min(found["shuffled"][d], found["Gaussian"][d]) for d in found["levels"]},  # "no" if either is
        yes="Levels tell the space that seeds share from a Gaussian and from a shuffled map{at}.",
        no="Levels do not clearly tell the space that seeds share from both, a Gaussian and a shuffled map{at}.",
    )


def ladders(found, apart, off):
    """What C3 comes to; parameters are as for `fingerprint`, and `off`.

    That is for a Gaussian and a shuffled map how far their levels are off for each d, in per cent.
    """
    closely = ", ".join(f"{differ} of {pairs} at d = {d}" for d, (differ, pairs) in apart.items())
    answers = [answer for each in found.values() for answer in each.values()]
    limit = 100 * SAME_LEVELS
    within = {d: ("neither", "one", "both")[sum(own[d] <= limit for own in off.values())] for d in found["levels"]}
    mean = f"{limit:g} %, on average over the first d levels"
    weak = said(
        within,
        one=f"(That seeds are within {mean}, tells little{{at}}: one of the two others is too.)",
        both=f"(That seeds are within {mean}, tells nothing{{at}}: both others are too.)",
    )
    told = (
        f"{told_apart(found)} {answers.count('yes')} of the {len(answers)} tests of claim C3 are met. {weak} Pairs of "
        f"seeds that differ in some level by more than the error of the draws: {closely}."
    )
    return " ".join(told.split())


def interprets(found):
    """How many checks of C6 hold, from what `vaept.companion.tables.answers` found: the end of a sentence."""
    answers = [answer for each in found.values() for answer in each.values()]
    if not answers:
        return "it was not tested in this copy."
    return f"in this copy {answers.count('yes')} of its {len(answers)} tests hold."


def split_pair(gap, chance, images):
    """What it means that the lowest two levels differ by this share of the first, beside round clouds: sentences.

    One in twenty of such clouds, of as many images, has a gap above `chance`.
    """
    if gap < 0.05:
        return (
            f"The levels of modes 1 and 2 are only {gap:.1%} apart, so the direction of mode 1 among those that both "
            "span is nearly an accident."
        )
    told = f"The levels of modes 1 and 2 are {gap:.0%} apart"
    beside = f"were the cloud of every seed {images} draws of a round one, the largest such gap would be above"
    if gap <= chance:
        return f"{told}. That may be chance: {beside} {chance:.0%} once in twenty times."
    return f"{told}, which is more than chance: {beside} {chance:.0%} only once in twenty times."


def ramp(straight):
    """What a mode is of whose variance a linear function of the latents explains this share: a sentence."""
    if straight >= 0.9:
        return "Mode 1 is hardly more than a direction: what takes longest is to cross the cloud where it is widest."
    return "Mode 1 is more than a direction: it sets regions apart between which it is hard to pass."


def mode_ends(classes, shares, few):
    """Which classes lie at the ends of the first mode: a sentence, or "" where there are no two classes.

    Classes and shares are as `vaept.companion.analysis.ends` returns them, of `few` images at either end. The low end
    is orange where it is drawn (`DIVERGING`).
    """
    if classes is None or len(classes) < 2:
        return ""
    low, high = (f"{end.max():.0%} are of class {escaped(str(classes[end.argmax()]))}" for end in shares[0])
    return f"Of the {few} images furthest towards its orange end {low}; of as many at its purple end {high}."
