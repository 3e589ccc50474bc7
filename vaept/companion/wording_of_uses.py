"""What chapters 6 and 7 say of what was found, in sentences that are true of any outcome.

Outcomes are those of `vaept.companion.tables.outcomes`, for each d one of "yes", "no", "contrary" and "none".
"""

from dataclasses import astuple

import numpy as np

from vaept.companion.wording import joined, listed, said, side
from vaept.uses.paths import MAX_ENDS, SHALLOW
from vaept.vae.agreement import Estimate

HELD = ("hardly holds a walker", "slows a walker down", "a walker rarely crosses")  # by a pass up to 1, 3, any kT


def on_the_map(persistence, deep):
    """What a map shows, in words by name, from the persistence of all minima and the numbers of those that count."""
    n, shallow = len(persistence), len(persistence) - len(deep)
    passes = persistence[deep][np.isfinite(persistence[deep])]
    answer = f"The map shows a single valley deeper than {SHALLOW:g} kT."
    if len(deep) > 1:
        answer = f"The map shows {len(deep)} valleys, and no path between them is known."
    if len(passes):
        how = HELD[int(np.digitize(passes.max(), [1, 3]))]
        answer = f"The map shows {len(deep)} valleys, and the highest pass between them, {passes.max():.1f} kT, {how}."
    minima = f"{n} minima were found" if n > 1 else "One minimum was found"
    if (persistence >= SHALLOW).sum() > len(deep):
        minima += f"; the {MAX_ENDS} lowest of those that are deep have numbers"
    elif shallow:
        minima += (
            f"; the {f'{len(deep)} that are deep have numbers' if len(deep) > 1 else 'one that is deep is numbered'}"
        )
    return {
        "answer": answer,
        "minima": f"{minima}.",
        "marks": "; small circles: further minima" if shallow else "",
        "lines": "; lines: lowest paths from the deepest one to the others over their saddles" if len(deep) > 1 else "",
    }


def along_paths(energy, sure, mirrored):
    """How lowest paths do beside straight lines, as a sentence, and what is to be kept of it, another.

    `energy` and `sure` are outcomes for each d, `mirrored` how much surer a classifier is along lowest paths than along
    mirrored ones, an `Estimate` for each d.
    """
    low = said(
        energy,
        yes="The lowest path stays lower than the straight line{at}.",
        no="The lowest path is not clearly lower than the straight line, on average{at}.",
        contrary="The lowest path lies higher than the straight line, on average{at}: it is longer.",
        none="There are no two deep minima to compare paths between{at}.",
    )
    classified = said(
        sure,
        yes="The classifier is surer along it{at}: images on the way look better.",
        no="The classifier is not clearly surer along it{at}.",
        contrary="The classifier is less sure along it{at}: images on the way look worse.",
    )
    control = said(
        {d: f"{sure[d]} {side(mirrored[d])}" for d in sure},
        **{"yes above": "Along mirrored paths it is less sure{at}, so that it is not the detour alone."},
        **dict.fromkeys(("yes unclear", "yes below"), "But it is not clearly surer than along mirrored paths{at}."),
        **{"contrary below": "On the mirrored path, which knows no landscape, it is surer than that{at}."},
    )
    kept = said(
        {d: "no" if outcome == "contrary" else outcome for d, outcome in sure.items()},
        yes="What is decoded along it looks better than along a straight line{at}.",
        no="What is decoded along it need not look better than along a straight line{at}.",
    )
    return " ".join(filter(None, (low, classified, control))), kept


def forgetting(outcomes, ratios, gaussian, nearer):
    """How fast walkers forget beside two predictions, and whether that shows levels to be too high: two texts.

    For each d: the outcome, the time of walkers over that of the level and over that of the width alone, and how much
    farther from 1 the second is than the first, `Estimate`s.
    """
    times = "For the slowest mode walkers take {value} times as long as predicted"
    told = said(
        outcomes,
        ratios,
        yes=f"{times}: the prediction holds to within a tenth.",
        no=f"{times}, not clearly within a tenth of it.",
        contrary=f"{times}, off by more than a tenth.",
        none="For the slowest mode this could not be measured here{at}.",
    )
    if gaussian:
        alone = listed(gaussian, bare=len(gaussian) == 1)
        told += f" Beside a prediction from the width of the latents alone, without valleys, it is {alone}. "
        told += said(
            {d: side(each) for d, each in nearer.items()},
            above="The landscape predicts better than the width{at}.",
            below="The width predicts better than the landscape{at}.",
            unclear="Neither predicts clearly better{at}.",
        )
    late = {d: side(Estimate(*(end - 1 for end in astuple(each)))) for d, each in ratios.items()}
    return told, said(
        late,
        above="They do{at}.",
        below="They take less time{at}, which that cannot explain.",
        unclear="They do not clearly{at}.",
    )


def valleys_matter(time, gaussian):
    """What valleys add to the relaxation time that a Gaussian as wide would have: sentences."""
    told = (
        f"The slowest mode here has a relaxation time of {time:.1f}; a Gaussian as wide as these latents, which has no "
    )
    told += f"valleys, would have {gaussian:.1f}. "
    if time > 1.1 * gaussian:
        return f"{told}Valleys make it {time / gaussian - 1:.0%} longer."
    if time < 0.9 * gaussian:
        return f"{told}No valley explains that it is shorter: the level is not well known."
    return f"{told}Width explains it to within a tenth: valleys hardly matter."


def reached(outcomes, values, means):
    """Whether metastable states reach the index that was asked for, and more than k-means does: sentences."""
    own = said(
        outcomes,
        values,
        yes="The states reach it, with {value}.",
        no="The states have {value}, not clearly more.",
        contrary="The states have less, {value}.",
    )
    beside = said(
        means,
        yes="They do better than k-means{at}.",
        no="They do not clearly do better than k-means{at}.",
        contrary="They do worse than k-means{at}.",
    )
    return f"{own} {beside}"


def read_otherwise(walk, few, images):
    """What modes of the walk tell beside positions, and images beside both: sentences.

    `images`: for each d by how much the better of the groups of bare images beats the best of those of latents.
    """
    graph = "modes of a random walk on the neighbour graph"
    predict = "With five labelled images per class, these modes"
    parts = [
        said(
            walk,
            yes=f"In fact {graph}, another motion, beat k-means on positions{{at}}.",
            no=f"Not even {graph} clearly beat k-means on positions{{at}}.",
            contrary=f"Even {graph} do worse than k-means on positions{{at}}.",
        ),
        said(
            few,
            yes=f"{predict} predict classes better than positions do{{at}}.",
            no=f"{predict} do not clearly predict classes better than positions do{{at}}.",
            contrary=f"{predict} predict classes worse than positions do{{at}}.",
        ),
        said(
            {d: side(each) for d, each in images.items()},
            above="Groups of the bare images, without any latent, are closer to the classes than all of these{at}.",
            below="The best of these is closer to the classes than groups of the bare images{at}.",
        ),
    ]
    return " ".join(filter(None, parts))


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
