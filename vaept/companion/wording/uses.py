"""What chapter 7 says of what was found, in sentences that are true of any outcome.

Outcomes are those of `vaept.companion.tables.outcomes`, for each d one of "yes", "no", "contrary" and "none".
"""

from vaept.companion.wording import joined, listed, said, side
from vaept.vae.agreement import Estimate


def carried_over(found, lost):
    """What of corrected models works with another: sentences, from outcomes of C9 and what `losses` says."""
    carried = "Encoders and decoders of corrected models"
    parts = said(
        found.get("nats", {}),
        yes=f"{carried} can be exchanged for one another{{at}}.",
        no=f"{carried} cannot clearly be exchanged cheaply{{at}}.",
        contrary=f"{carried} cannot be exchanged cheaply{{at}}.",
    )
    return " ".join(filter(None, (parts, lost)))


def losses(found, *, intervals=False):
    """What classifiers and probes of corrected models lose on another's latents: a sentence, or ""; from C9's values.

    A negative number is a gain. Without intervals, means alone are told.
    """
    told = []
    for key, loses in (("classifier", "a classifier loses accuracy"), ("probes", "probes lose R²")):
        own = {
            d: Estimate(*(0.0 - round(x, 2) for x in (v.mean, v.high, v.low))) for d, v in found.get(key, {}).items()
        }
        own = own if intervals else {d: value.mean for d, value in own.items()}
        told += [f"{loses}: {listed(own)}"] if own else []
    return f"On another's latents {'; '.join(told)}." if told else ""


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
        no=f"{cost} not clearly below a tenth of that between plain ones: {{value}}.",
        contrary=f"{cost} above a tenth of that between plain ones: {{value}}.",
    )


def turned(more):
    """What an exchange costs between plain members that are turned onto each other after training: a sentence.

    `more`: by how many nats more than between corrected members, for each d an `Estimate`.
    """
    phrases = {"above": "more{at}|", "unclear": "not clearly more or less{at}|", "below": "less{at}|"}
    found = said({d: side(each) for d, each in more.items()}, **phrases).rstrip("|").split("| ")
    return f"Between plain members that are turned onto each other after training it costs {joined(found)}."


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
    """How varied images are, by differences of recall: sentences; `recalls` has `Estimate`s for each d by two keys.

    "draws": drawn where images lie minus from the prior; "plain": those of corrected minus those of plain members.
    """
    subjects = {"draws": "By recall, draws where images lie are", "plain": "Images of corrected models are"}
    told = [
        said(
            {d: side(each) for d, each in recalls[key].items()},
            above=f"{subject} more varied{{at}}.",
            below=f"{subject} less varied{{at}}.",
            unclear=f"{subject} not clearly more or less varied{{at}}.",
        )
        for key, subject in subjects.items()
    ]
    return " ".join(filter(None, told))


def grouped_by_field(index, more):
    """How groups of the field itself do beside those of corrected members, from `more`, theirs minus its: sentences."""
    knew = "groups of corrected models may be what the field knew"
    return f"k-means on the field itself, without a model, has {listed(index)}. " + said(
        {d: side(each) for d, each in more.items()},
        above="Corrected models do better{at}.",
        below=f"That is more{{at}}: {knew}.",
        unclear=f"That is not clearly less{{at}}: {knew}.",
    )


def spectral(slow, langevin):
    """Whether uses need levels or dynamics, from outcomes of slow modes beside k-means and of Langevin draws: text."""
    parts = [
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
    return " ".join(
        filter(None, ("Of all these uses only energies, slow modes and Langevin dynamics need levels.", *parts))
    )


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


def kinds_found(found):
    """Which of two scores finds more of each kind of outlier: a sentence.

    Parameters
    ----------
    found : dict from str to dict from int to Estimate
        For each of `vaept.uses.outliers.KINDS` and each d what −ELBO finds minus what the energy finds.
    """
    sides = {kind: {d: side(each) for d, each in own.items()} for kind, own in found.items()}
    text = by_side(
        sides,
        above="−ELBO finds more of those {}",
        below="the energy finds more of those {}",
        unclear="neither clearly finds more of those {}",
    )
    return f"{text[0].upper()}{text[1:]}." if text else ""


def rebuilt(found, more):
    """Whether −ELBO finds more than the energy, by `Estimate`s for each d, and of every kind: a sentence."""
    less = [kind for kind, by_d in found.items() if any(side(each) == "below" for each in by_d.values())]
    but = f", though less of those {joined(less)}" if less else ""
    return said(
        {d: side(each) for d, each in more.items()},
        above=f"Whether the model can rebuild it tells more than the energy{{at}}{but}.",
        unclear="Whether the model can rebuild it does not clearly tell more than the energy{at}.",
        below="Whether the model can rebuild it tells less than the energy{at}.",
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
