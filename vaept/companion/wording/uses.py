"""What chapter 7 says of what was found, in sentences that are true of any outcome.

Outcomes are those of `vaept.companion.tables.outcomes`, for each d one of "yes", "no", "contrary" and "none".
"""

from vaept.companion.wording import joined, listed, said, side


def carried_over(found, *others):
    """What of corrected models works with another on these data: sentences, from outcomes of C9; others follow."""
    carried = "On these data encoders and decoders of corrected models"
    parts = said(
        found.get("nats", {}),
        yes=f"{carried} can be exchanged for one another{{at}}.",
        no=f"{carried} cannot clearly be exchanged cheaply{{at}}.",
        contrary=f"{carried} cannot be exchanged cheaply{{at}}.",
    )
    return " ".join(filter(None, (parts, *others)))


def published_exchanges(found):
    """How many tests of exchanges hold where published, from outcomes of C9 by the name of the data: a sentence."""
    told = []
    for name, by_key in found.items():
        outcomes = [each for by_d in by_key.values() for each in by_d.values() if each != "none"]
        told += [f"{outcomes.count('yes')} of {len(outcomes)}, published ({name})"] if outcomes else []
    return f"Of the tests of exchanges on other data, these hold: {'; '.join(told)}." if told else ""


def losses(found, *, intervals=False):
    """What classifiers and probes of corrected models lose on another's latents: a sentence, or ""; from C9's values.

    A negative number is a gain. Without intervals, means alone are told.
    """
    told = []
    for key, loses in (("classifier", "a classifier loses accuracy"), ("probes", "probes lose R²")):
        own = [f"{_lost(value, intervals)} at d = {d}" for d, value in found.get(key, {}).items()]
        told += [f"{loses}: {', '.join(own)}"] if own else []
    return f"On another's latents {'; '.join(told)}." if told else ""


def _lost(value, interval=False):
    """What was lost, of an `Estimate` of the difference, in words."""
    if side(value) not in ("above", "below"):
        return "nothing clear"
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
    "yes": "The correction helps with {what}{at}.",
    "no": "The correction does not clearly help with {what}{at}.",
    "contrary": "The correction does harm to {what}{at}.",
}


def helped(found):
    """With which uses the correction helps, in one sentence for each outcome; outcomes are those of C8."""
    return _alike(
        found,
        {"denoising": "denoising", "clustering": "grouping", "draws over plain": "generating (by Fréchet distance)"},
        HELP,
    )


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


def turned(more):
    """What an exchange costs between finished members that are turned onto each other: a sentence.

    `more`: by how many nats more than between corrected members, for each d an `Estimate`; of the better start.
    """
    whose = "Between members without a field (of the better start) that are turned onto each other after training"
    return f"{whose} an exchange costs {_degrees(more)} than between corrected ones."


def _degrees(found):
    """Whether something is more or less, by `Estimate`s for each d: "more at d = 2 and less at d = 4"."""
    phrases = {"above": "more{at}|", "unclear": "not clearly more or less{at}|", "below": "less{at}|"}
    return joined(said({d: side(each) for d, each in found.items()}, **phrases).rstrip("|").split("| "))


def worth_it(found, more):
    """Whether the correction is worth it for an exchange: sentences, from the outcomes of C9 and `more` of `turned`."""
    free = "that needs no training"
    kept = {
        "above": "If models are to be exchanged, the correction is worth it{at}: turning finished ones costs more.",
        "unclear": f"If models are to be exchanged, turn finished ones{{at}}: {free} and does not clearly cost more.",
        "below": f"If models are to be exchanged, turn finished ones{{at}}: {free} and costs less.",
    }
    for where, turn in (("above", "costs even more"), ("unclear", "is not clearly cheaper"), ("below", "costs less")):
        kept[f"dear {where}"] = f"The correction does not clearly make an exchange cheap{{at}}; turning {turn}."
    known = {d: outcome for d, outcome in found.items() if outcome != "none"}
    keys = {d: side(more[d]) if outcome == "yes" else f"dear {side(more[d])}" for d, outcome in known.items()}
    return said(keys, **kept)


def varied(recalls):
    """How varied images are, by differences of recall: sentences; `recalls` has `Estimate`s for each d by three keys.

    "corrected" and "plain": members' images drawn where images lie minus from the prior; "arms": those of corrected
    minus those of plain members, both drawn where images lie.
    """
    if not all(recalls[key] for key in ("corrected", "plain", "arms")):
        return ""
    corrected, plain, arms = (_degrees(recalls[key]) for key in ("corrected", "plain", "arms"))
    return (
        f"By recall, corrected models' images drawn where images lie vary {corrected} than from the prior, plain "
        f"models' {plain}. Drawn where images lie, corrected models' images vary {arms} than plain models'."
    )


def grouped_by_field(index, more):
    """How groups of the field itself do beside those of corrected members, from `more`, theirs minus its: sentences."""
    knew = "groups of corrected models may be what the field knew"
    return f"k-means on the field itself, without a model, has {listed(index)}. " + said(
        {d: side(each) for d, each in more.items()},
        above="Corrected models do better{at}.",
        below=f"That is more{{at}}: {knew}.",
        unclear=f"That is not clearly less{{at}}: {knew}.",
    )


TESTED = {
    "wavelets": "wavelets",
    "denoising": "plain models at denoising",
    "clustering": "plain models at grouping",
    "draws over plain": "plain models at generating",
    "likelihood": "plain models by log p(x)",
    "draws over prior": "the prior's draws",
    "autoencoder": "a denoising autoencoder",
    "pixels": "groups of bare pixels",
    "mixture": "a mixture of Gaussians on the latents",
}


def tested(found):
    """Beside what corrected models pass the tests of C8, and beside what not: a sentence, from their outcomes."""
    held = {
        words: {d: "yes" if each == "yes" else "no" for d, each in found.get(key, {}).items() if each != "none"}
        for key, words in TESTED.items()
    }
    text = by_side(held, yes="pass the tests against {}", no="fail those against {}")
    return f"Corrected models {text}." if text else ""


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
    words = by_side(found, above="better than {}", below="worse than {}", unclear="not clearly better or worse than {}")
    return f"{what} do {words}." if words else ""


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


def counted(gains):
    """How many numbers are gains and losses, from pairs of `Estimate`s that are above 0 where they are gains.

    The first of a pair is beside plain members, the second beside the warm start; None where that has no such number.
    """
    pairs = [(side(a), "none" if b is None else side(b)) for a, b in gains if side(a) != "none"]
    n, more, less = len(pairs), *(sum(a == where for a, _ in pairs) for where in ("above", "below"))
    told = f"gains in {more} of {n} numbers, losses in {less}, {n - more - less} unclear"
    both = [a == b == "above" for a, b in pairs if b != "none"]
    return f"{told}; gains beside the warm start too in {sum(both)} of the {len(both)} that were measured there."
