"""What chapter 7 says of what was found, in sentences that are true of any outcome.

Outcomes are those of `vaept.companion.tables.outcomes`, for each d one of "yes", "no", "contrary" and "none".
"""

from vaept.companion.wording import joined, said, side
from vaept.uses.outliers import KINDS


def carried_over(found):
    """What of corrected models works with another, in one sentence for each outcome; outcomes are those of C9."""
    carried = "Encoders and decoders of corrected models"
    parts = said(
        found.get("nats", {}),
        yes=f"{carried} can be exchanged for one another{{at}}.",
        no=f"{carried} cannot clearly be exchanged cheaply{{at}}.",
        contrary=f"{carried} cannot be exchanged cheaply{{at}}.",
    )
    return " ".join(filter(None, (parts, _alike(found, {"classifier": "classifiers", "probes": "probes"}, CARRY))))


CARRY = {
    "yes": "{what} can be carried over{at}.",
    "no": "Whether {what} can be carried over is not clear{at}.",
    "contrary": "{what} cannot be carried over{at}.",
}
HELP = {
    "yes": "The correction helps with {what}{at}.",
    "no": "The correction does not clearly help with {what}{at}.",
    "contrary": "The correction does harm to {what}{at}.",
}


def helped(found):
    """With which uses the correction helps, in one sentence for each outcome; outcomes are those of C8."""
    return _alike(found, {"denoising": "denoising", "clustering": "grouping", "draws over plain": "generating"}, HELP)


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
    """What an exchange costs and what classifiers and probes lose, in sentences, from outcomes of C9."""
    cost = "The cost of an exchange between corrected members is"
    parts = [
        said(
            found.get("nats", {}),
            ratios,
            yes=f"{cost} below a tenth of that between plain ones{{at}}.",
            no=f"{cost} not clearly below a tenth of that between plain ones: {{value}}.",
            contrary=f"{cost} above a tenth of that between plain ones: {{value}}.",
        )
    ]
    for key, loses, may_lose, its in (
        ("classifier", "A classifier loses", "A classifier may lose", "accuracy"),
        ("probes", "Probes lose", "Probes may lose", "R²"),
    ):
        told = {"yes": f"{loses} at most", "no": f"{may_lose} more than", "contrary": f"{loses} more than"}
        told = {name: f"{words} 0.05 of {its} on another's latents{{at}}." for name, words in told.items()}
        parts.append(said(found.get(key, {}), **told))
    return " ".join(filter(None, parts))


def turned(costs, more):
    """What turning plain members onto each other after training comes to, and what is to be kept of it: two texts.

    `costs`: nats of an exchange between members that were turned; `more`: these less those of corrected members; for
    each d an `Estimate`.
    """
    brings = "Turning plain members onto each other after training brings their cost in nats to {value}"
    sides = {d: side(each) for d, each in more.items()}
    told = said(
        sides,
        costs,
        above=f"{brings}: more than that of corrected ones.",
        unclear=f"{brings}: not clearly more or less than that of corrected ones.",
        below=f"{brings}: less than that of corrected ones.",
    )
    turning = "For that, turning finished models onto each other {}{{at}}."
    kept = {"above": "costs more", "unclear": "does not clearly cost more", "below": "costs less"}
    return told, said(sides, **{where: turning.format(words) for where, words in kept.items()})


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


def found_by_kind(precisions, chance):
    """What of each kind of outlier a score finds: for each kind and d "half", "some" or "chance".

    Parameters
    ----------
    precisions : dict from int to dict from str to Estimate
        For each d and each of `vaept.uses.outliers.KINDS`.
    chance : float
        The share of outliers of all kinds.
    """
    own = chance / len(KINDS) / (1 - chance + chance / len(KINDS))  # of one kind among what was left as it was

    def outcome(value):
        return "half" if value.low > 0.5 else "some" if value.low > own else "chance"

    return {kind: {d: outcome(each[kind]) for d, each in precisions.items()} for kind in KINDS}


def kinds_found(found):
    """What −ELBO finds of each kind of outlier: a sentence."""
    phrases = {"half": "more than half{at}|", "some": "some{at}|", "chance": "not clearly more than by chance{at}|"}
    told = {kind: joined(said(own, **phrases).rstrip("|").split("| ")) for kind, own in found.items()}
    return f"By kind, −ELBO finds: {'; '.join(f'{kind}, {words}' for kind, words in told.items())}."


def rebuilt(found, more):
    """Whether −ELBO finds more than the energy, by `Estimate`s for each d, and which kinds it finds: a sentence."""
    whole = [kind for kind, own in found.items() if set(own.values()) == {"half"}]
    kinds = f"more than half of those that are {joined(whole)}" if whole else "of no kind more than half for every d"
    return said(
        {d: side(each) for d, each in more.items()},
        above=f"Whether the model can rebuild it tells more{{at}}: it finds {kinds}.",
        unclear="Whether the model can rebuild it does not clearly tell more{at}.",
        below="Whether the model can rebuild it tells less{at}.",
    )


def counted(gains):
    """How many numbers are gains, losses and neither, from `Estimate`s that are above 0 where they are gains."""
    sides = [where for each in gains if (where := side(each)) != "none"]
    n, more, less = len(sides), sides.count("above"), sides.count("below")
    return f"gains in {more} of {n} numbers, losses in {less}, neither clearly in {n - more - less}."
