"""What chapter 7 says of what was found, in sentences that are true of any outcome.

Outcomes are those of `vaept.companion.tables.outcomes`, for each d one of "yes", "no", "contrary" and "none".
"""

import numpy as np

from vaept.companion.markdown import shown
from vaept.companion.wording import joined, listed, said, side

PARTS = "Encoders and decoders of corrected models"
EXCHANGES = {"nats": "the cost", "classifier": "the nearest-neighbour classifier", "probes": "the probes"}


def carried_over(found, *others):
    """What of corrected models works with another on these data: sentences, from outcomes of C9; others follow."""
    parts = said(
        found.get("nats", {}),
        yes=f"{PARTS} can be exchanged for one another{{at}}, at less than a tenth of the cost between plain ones.",
        no=f"{PARTS} cannot clearly be exchanged{{at}} at less than a tenth of the cost between plain ones.",
        contrary=f"{PARTS} cannot be exchanged{{at}} at less than a tenth of the cost between plain ones.",
    )
    return " ".join(filter(None, (parts, *others)))


def tests_of_exchanges(found, others):
    """How many tests of exchanges hold here and where published, and which not here: a sentence.

    From outcomes of C9, and from those of other data by their names.
    """
    counted = {"here": found} | {f"published ({name})": own for name, own in others.items()}
    counted = {name: [x for own in by_key.values() for x in own.values()] for name, by_key in counted.items()}
    told = [
        f"{own.count('yes')} of {len(own) - own.count('none')} {name}"
        for name, own in counted.items()
        if {*own} - {"none"}
    ]
    missed = {EXCHANGES[key]: {d: "no" if x == "contrary" else x for d, x in own.items()} for key, own in found.items()}
    missed = by_side(missed, no=" (not {})")
    told[:1] = [told[0] + missed] if told and any(each != "none" for each in counted["here"]) else told[:1]
    return f"Of the tests of exchanges these hold: {', '.join(told)}." if told else ""


def losses(found, *, intervals=False):
    """What classifiers and probes of corrected models lose on another's latents: a sentence, or ""; from C9's values.

    A negative number is a gain. Without intervals, means alone are told.
    """
    told = []
    for key, loses in (("classifier", "a nearest-neighbour classifier's accuracy"), ("probes", "the R² of probes")):
        own = [f"{_lost(value, intervals)} at d = {d}" for d, value in found.get(key, {}).items()]
        told += [f"of {loses}, {', '.join(own)}"] if own else []
    return f"Loss on another's latents: {'; '.join(told)}." if told else ""


def _lost(value, interval=False):
    """What was lost, of an `Estimate` of the difference, in words."""
    if side(value) not in ("above", "below"):
        return "none clear"
    if abs(value.mean) < 0.005:
        return "less than 0.01"
    mean, low, high = (f"{0.0 - round(x, 2):.2f}".replace("-", "−") for x in (value.mean, value.high, value.low))
    return f"{mean} [{low}, {high}]" if interval else mean


def paid(found):
    """What falls by the correction where nothing is exchanged: a sentence, or "".

    `found` has for each of some numbers, by its name in words, corrected minus plain members: an `Estimate` for each d.
    """
    known = {name: own for name, by_d in found.items() if (own := {d: v for d, v in by_d.items() if side(v) != "none"})}
    fallen = {name: {d: v for d, v in own.items() if side(v) == "below"} for name, own in known.items()}
    told = [
        f"{name} falls by {', '.join(f'{_lost(v)} at d = {d}' for d, v in own.items())}"
        for name, own in fallen.items()
        if own
    ]
    nothing = f"On a model's own latents {joined(known)} do not clearly fall." if known else ""
    return f"What it costs on a model's own latents: {'; '.join(told)}." if told else nothing


HELP = {
    "yes": "Beside plain models the correction helps with {what}{at}.",
    "no": "Beside plain models the correction does not clearly help with {what}{at}.",
    "contrary": "Beside plain models the correction does harm to {what}{at}.",
}


def helped(found, epochs):
    """With which uses the correction helps, in one sentence for each outcome; outcomes are those of C8."""
    told = _alike(
        found,
        {"denoising": "denoising", "clustering": "grouping", "draws over plain": "generating (by Fréchet distance)"},
        HELP,
    )
    return f"After {epochs} epochs {told[0].lower()}{told[1:]}" if told else ""


def _alike(found, names, sentences):
    """Sentences on several checks, one for those that have the same outcome for every d."""
    same = {}
    for key, word in names.items():
        if found.get(key):
            same.setdefault(tuple(found[key].items()), []).append(word)
    told = []
    for own, words in same.items():
        own_words = {name: text.replace("{what}", joined(words)) for name, text in sentences.items()}
        told.append(said(dict(own), **{name: text[0].upper() + text[1:] for name, text in own_words.items()}))
    return " ".join(filter(None, told))


def exchanged(found, ratios):
    """What an exchange between corrected members costs beside one between plain ones: a sentence."""
    cost = "The cost of an exchange between corrected members is"
    return said(
        found.get("nats", {}),
        ratios,
        yes=f"{cost} below a tenth of that between plain ones{{at}}.",
        no=f"{cost} not clearly below a tenth of that between plain ones; the ratio is {{value}}.",
        contrary=f"{cost} above a tenth of that between plain ones; the ratio is {{value}}.",
    )


def beside_chance(found):
    """What an exchange between plain members costs, as a share of what another image's latents do: a sentence.

    `found` has their `Interchange` for each d.
    """
    shares = {}
    for d, own in found.items():
        at_home = np.diagonal(own.nats)
        chance = (own.nats_by_chance - at_home).mean()
        shares[d] = own.above_own.sum() / (len(at_home) * (len(at_home) - 1)) / chance
    shares = listed(shares, spec=".0%")
    return f"Between plain ones it is {shares} of what another image's latents would cost them." if shares else ""


DEGREES = {"above": "more", "unclear": "not clearly more or less", "below": "less"}


def turned(more, costs):
    """What an exchange costs between finished members that are turned onto each other: a sentence.

    `more`: by how many nats more than between corrected members, for each d an `Estimate`; of the better start.
    `costs`: for each d the name of that start and the mean nats of turned and of corrected members.
    """
    told = [
        f"{own:.2f} nats at d = {d} ({start} start; {DEGREES[side(more[d])]} than corrected ones, {corrected:.2f})"
        for d, (start, own, corrected) in costs.items()
        if side(more[d]) in DEGREES
    ]
    whose = "Members without a field that are turned onto each other after training exchange encoders and decoders for"
    return f"{whose} {joined(told)}." if told else ""


def worth_it(found, more):
    """Whether the correction is worth it for an exchange: sentences, from the outcomes of C9 and `more` of `turned`."""
    free, exchanged = "that needs no training", "If encoders and decoders are to be exchanged"
    kept = {
        "above": f"{exchanged}, the correction is worth it{{at}}: turning finished ones costs more.",
        "unclear": f"{exchanged}, turn finished ones{{at}}: {free} and does not clearly cost more.",
        "below": f"{exchanged}, turn finished ones{{at}}: {free} and costs less.",
    }
    for where, turn in (("above", "costs even more"), ("unclear", "is not clearly cheaper"), ("below", "costs less")):
        kept[f"dear {where}"] = f"The correction does not clearly make an exchange cheap{{at}}; turning {turn}."
    known = {d: outcome for d, outcome in found.items() if outcome != "none"}
    keys = {d: side(more[d]) if outcome == "yes" else f"dear {side(more[d])}" for d, outcome in known.items()}
    return said(keys, **kept)


def varied(recalls):
    """Where recall clearly differs: a sentence; `recalls` has `Estimate`s for each d by three keys.

    "corrected" and "plain": members' images drawn where images lie minus from the prior; "arms": those of corrected
    minus those of plain members, both drawn where images lie.
    """
    if not all(recalls[key] for key in ("corrected", "plain", "arms")):
        return ""
    sides = {key: {d: side(each) for d, each in own.items()} for key, own in recalls.items()}
    own = {key: _where(each) for key, each in sides.items()}
    drawn = [f"{own[key]} for {key} models" for key in ("plain", "corrected") if own[key]]
    told = [f"For draws from where images lie, beside those from the prior, it is {joined(drawn)}."] if drawn else []
    if own["arms"]:
        told += [f"Of what is drawn where images lie it is {own['arms']} for corrected models than for plain ones."]
    if not told:
        return "By recall, no difference in how varied images are is clear."
    unclear = any("unclear" in each.values() for each in sides.values())
    return " ".join(["Recall tells how varied images are.", *told, *["Other differences are unclear."] * unclear])


def _where(sides):
    """Where something is higher or lower, from the side for each d: "lower at d = 4", or ""."""
    told = []
    for where, word in (("above", "higher"), ("below", "lower")):
        if dims := [d for d, each in sides.items() if each == where]:
            told += [word + ("" if len(dims) == len(sides) else f" at d = {joined(dims)}")]
    return joined(told) if told else ""


def grouped_by_field(index, more):
    """How groups of the field itself do beside those of corrected members, from `more`, theirs minus its: sentences."""
    knew = "groups of corrected models may be what the field knew"
    return f"k-means on the field itself, without a model, has {listed(index)}. " + said(
        {d: side(each) for d, each in more.items()},
        above="Corrected models do better{at}.",
        below=f"That is more{{at}}: {knew}.",
        unclear=f"That is not clearly less{{at}}: {knew}.",
    )


RIVALS = ("autoencoder", "pixels", "mixture")  # checks of C8 against what is made for the task


def against_rivals(found):
    """How many tests of C8 against the strongest rivals hold, and how many others: a sentence; from its outcomes."""
    held = {
        rival: [x for key, own in found.items() if (key in RIVALS) == rival for x in own.values() if x != "none"]
        for rival in (True, False)
    }
    if not held[True]:
        return ""
    told = [f"{own.count('yes')} of {len(own)}" for own in held.values()]
    return (
        "Of the tests of C8 against a denoising autoencoder, against bare pixels and against a mixture of Gaussians on "
        f"the latents {told[0]} hold; of those against plain models, wavelets and draws from the prior {told[1]}."
    )


def also_turned(ratios):
    """Where turned plain models would pass the test of an exchange too: a sentence, or "".

    `ratios` has for each d the mean cost between turned members over that between plain ones.
    """
    passed = {d: ratio for d, ratio in ratios.items() if ratio < 0.1}
    told = "The test of C9 cannot tell a field from turning: turned models would stay below its tenth too, on average"
    return f"{told} ({listed(passed)})." if passed else ""


PLAIN = {"denoising": "denoising", "clustering": "grouping", "draws over plain": "generating", "likelihood": "log p(x)"}


def tested(found):
    """How corrected models do beside plain ones, and draws beside the prior's, by outcomes of C8: sentences."""
    own = {words: found.get(key, {}) for key, words in PLAIN.items()}
    beside = by_side(own, yes="better in {}", no="not clearly better in {}", contrary="worse in {}")
    told = [f"Beside plain models corrected ones do {beside}."] if beside else []
    draws = "Draws from the aggregate posterior {} the prior's{{at}}."
    how = {"yes": "beat", "no": "do not clearly beat", "contrary": "do worse than"}
    told += [said(found.get("draws over prior", {}), **{key: draws.format(words) for key, words in how.items()})]
    return " ".join(filter(None, told))


def spectral(slow, langevin, energies):
    """Whether what uses the physics beats its simple rival: sentences.

    From outcomes of slow modes beside k-means and of Langevin draws beside a mixture, and `Estimate`s for each d of
    what −ELBO finds minus what the energy finds.
    """
    parts = [
        said(
            {d: side(each) for d, each in energies.items()},
            below="Energies find more planted outliers than −ELBO{at}.",
            unclear="Energies do not clearly find more planted outliers than −ELBO{at}.",
            above="Energies find fewer planted outliers than −ELBO{at}.",
        ),
        said(
            slow,
            yes="Groups by slow modes beat k-means{at}.",
            no="Groups by slow modes do not clearly beat k-means{at}.",
            contrary="Groups by slow modes do worse than k-means{at}.",
        ),
        said(
            langevin,
            yes="Langevin draws beat a mixture of Gaussians on the latents{at}.",
            no="Langevin draws do not clearly beat a mixture of Gaussians on the latents{at}.",
            contrary="Langevin draws do worse than a mixture of Gaussians on the latents{at}.",
        ),
    ]
    won = "yes" in (*slow.values(), *langevin.values()) or "below" in map(side, energies.values())
    none = "" if won or not any(parts) else ", and none of them clearly beats its simple rival"
    return " ".join(filter(None, (f"Only energies, slow modes and Langevin dynamics use the physics{none}.", *parts)))


def found_by_energy(outcomes, values, chance):
    """How many planted outliers the energy finds, for each d one of "yes", "no", "few", "chance" and "none"."""
    return {
        d: ("few" if values[d].low > chance else "chance") if outcome == "contrary" else outcome
        for d, outcome in outcomes.items()
    }


def energies_find(found, values):
    """How many planted outliers the energy finds: sentences, from what `found_by_energy` gives."""
    return said(
        found,
        values,
        yes="The energy finds more than half of them{at}.",
        no="The energy does not clearly find half of them{at}.",
        few="The energy finds few of them, {value}.",
        chance="The energy does not clearly find more of them than chance: {value}.",
    )


def by_side(found, **phrases):
    """Names in groups by what was found of them: phrases joined by semicolons, or "" if nothing was found.

    `found` has for each name a dict from d to what was found; "{}" in the phrase of that takes the names.
    """
    told = []
    for where, words in phrases.items():
        own = {name: [d for d, each in by_d.items() if each == where] for name, by_d in found.items()}
        names = [
            name + (f" (d = {joined(dims)})" if len(dims) < len(found[name]) else "")
            for name, dims in own.items()
            if dims
        ]
        told += [words.format(joined(names))] if names else []
    return "; ".join(told)


def beside_others(what, found):
    """How something does beside other methods: a sentence, or ""; `found` has for each method sides by d."""
    told = []
    for where, words in (("above", "better"), ("below", "worse"), ("unclear", "not clearly better or worse")):
        by_dims = {}
        for name, by_d in found.items():
            if own := [d for d, each in by_d.items() if each == where]:
                by_dims.setdefault("" if len(own) == len(by_d) else f" at d = {joined(own)}", []).append(name)
        told += [f"{words}{at} than {joined(names)}" for at, names in sorted(by_dims.items())]
    return f"{what} do {'; '.join(told)}." if told else ""


ONES = {"overlaid": "the overlaid ones", "halves": "the halves", "scrambled": "the scrambled ones"}  # of `KINDS`


def kinds_found(found, most):
    """Which of two scores finds more of each kind of outlier: a sentence.

    Parameters
    ----------
    found : dict from str to dict from int to Estimate
        For each of `vaept.uses.outliers.KINDS` and each d what −ELBO finds minus what the energy finds.
    most : dict from str to dict from int to float
        The largest share that either finds in a member.
    """
    sides = {
        ONES[kind]: {d: "nothing" if most[kind][d] == 0 else side(each) for d, each in own.items()}
        for kind, own in found.items()
    }
    text = by_side(
        sides,
        above="−ELBO finds more of {}",
        below="the energy finds more of {}",
        unclear="neither clearly finds more of {}",
        nothing="neither finds a single one of {}",
    )
    return f"{text[0].upper()}{text[1:]}." if text else ""


def rebuilt(found, more):
    """Whether −ELBO finds more than the energy, by `Estimate`s for each d, and of which kinds: a sentence."""
    gained, less = (
        [ONES[kind] for kind, by_d in found.items() if where in map(side, by_d.values())]
        for where in ("above", "below")
    )
    only = f", thanks to {joined(gained)}" if 0 < len(gained) < len(found) else ""
    only += f", but fewer of {joined(less)}" if less else ""
    score = "−ELBO, which knows whether an image can be rebuilt,"
    return said(
        {d: side(each) for d, each in more.items()},
        above=f"Of what was planted here {score} finds more than the energy{{at}}{only}.",
        unclear=f"Of what was planted here {score} does not clearly find more than the energy{{at}}.",
        below=f"Of what was planted here {score} finds less than the energy{{at}}.",
    )


def with_field(sides, grouping):
    """Where the correction helps with grouping and the field alone groups better still: a sentence, or "".

    `sides` has for each d where corrected models lie beside the field, `grouping` outcomes of C8.
    """
    found = {d: where if grouping.get(d) == "yes" else "none" for d, where in sides.items()}
    return said(found, below="But k-means on the field alone, without a model, groups better still{at}.")


def counted(gains):
    """How many numbers are gains and losses, from pairs of `Estimate`s that are above 0 where they are gains.

    The first of a pair is beside plain members, the second beside the warm start; None where that has no such number.
    """
    pairs = [(side(a), "none" if b is None else side(b)) for a, b in gains if side(a) != "none"]
    n, more, less = len(pairs), *(sum(a == where for a, _ in pairs) for where in ("above", "below"))
    told = f"gains in {more} of {n} numbers, losses in {less}, {n - more - less} unclear"
    both = [a == b == "above" for a, b in pairs if b != "none"]
    return f"{told}; gains beside the warm start too in {sum(both)} of the {len(both)} that were measured there."


def with_d(found):
    """Whether what corrected models gain over plain ones falls or grows with d: a sentence or ""; from values of C8."""
    told, dims = [], []
    for name, key, sign in (("PSNR", "denoising", 1), ("Fréchet distance", "draws over plain", -1)):
        known = {d: each for d, each in found.get(key, {}).items() if side(each) != "none"}
        if len(known) > 1:
            dims = list(known)
            (mean, *ends), (last, *last_ends) = (
                (sign * each.mean, *sorted((sign * each.low, sign * each.high)))
                for each in (known[dims[0]], known[dims[-1]])
            )
            how = "falls" if last_ends[1] < ends[0] else "grows" if last_ends[0] > ends[1] else ""
            told += [f"in {name} {how} from {shown(mean, '.2g')} to {shown(last, '.2g')}"] if how else []
    return f"From d = {dims[0]} to {dims[-1]} the gain {' and that '.join(told)}." if told else ""


def costs_of_fields(found):
    """What fields cost or gain, from the least and most nats of −ELBO beside plain models for each d: a sentence."""
    told = []
    for d, (low, high) in found.items():
        if low >= 0 or high <= 0:
            ends = sorted((abs(low), abs(high)))
            told += [f"{'cost' if low >= 0 else 'gain'} {ends[0]:.1f} to {ends[1]:.1f} nats at d = {d}"]
        else:
            told += [f"do anything between a gain of {-low:.1f} and a cost of {high:.1f} nats at d = {d}"]
    return f"In the published study fields, beside plain models, {joined(told)}." if told else ""
