"""What chapters 6 and 7 say of what was found, in sentences that are true of any outcome.

Outcomes are those of `vaept.companion.tables.outcomes`, for each d one of "yes", "no", "contrary" and "none".
"""

from dataclasses import astuple

import numpy as np

from vaept.companion.wording import joined, listed, said, side
from vaept.uses.outliers import KINDS
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
