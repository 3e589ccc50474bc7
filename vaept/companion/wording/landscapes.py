"""What chapter 6 says of landscapes and dynamics, in sentences that are true of any outcome.

Outcomes are those of `vaept.companion.tables.outcomes`, for each d one of "yes", "no", "contrary" and "none".
"""

from dataclasses import astuple

import numpy as np

from vaept.companion.wording import joined, listed, said, side
from vaept.uses.paths import MAX_ENDS, SHALLOW
from vaept.vae.agreement import Estimate

HELD = ("hardly holds a walker", "slows a walker down", "a walker rarely crosses")  # by a pass up to 1, 3, any kT
FLAT = 12 / np.pi**2  # of the time of a Gaussian as wide, that of a density that is constant between two walls
MIRRORED = {"above": "less sure", "unclear": "not clearly surer or less sure", "below": "surer"}
LINEAR = 0.9  # of the variance of a mode: what is hardly more than a direction
FAINT = 0.01  # kT: a barrier that any other sample of images would move
MACHINERY = ("trial functions", "bracket", "detours", "paths energy")  # checks of C7 that are nearly sanity checks
CLOSE = 0.02  # of an index or a share: a difference whose interval lies within it hardly matters


def on_the_map(persistence, deep, n_saddles):
    """What a map shows, in words by name.

    From the persistence (kT) of all minima, shape (n,), the numbers of those that are deep, and how many saddles there
    are.
    """
    n, held = len(persistence), int((persistence >= SHALLOW).sum())
    passes = persistence[deep][np.isfinite(persistence[deep])]
    answer = f"Hardly: beside the lowest, no valley of the map is as deep as {SHALLOW:g} kT."
    if len(deep) > 1:
        answer = f"The map shows {len(deep)} valleys, and no path between them is known."
    if len(passes):
        height = int(np.digitize(passes.max(), [1, 3]))
        answer = f"{('Faint ones', 'Yes', 'Yes')[height]}: the map shows {len(deep)} valleys, and the highest pass "
        answer += f"between them, {passes.max():.1f} kT, {HELD[height]}."
    minima = f"{n} minima were found, {held} of them deep" if n > 1 else "One minimum was found"
    minima += f"; the {MAX_ENDS} lowest of these count" if held > len(deep) else ""
    flat = int((persistence < FAINT).sum())
    minima += f" and {flat} held by less than {FAINT:g} kT, hardly a minimum" if flat else ""
    crosses, ways = "crosses at the saddles" if n_saddles else "", len(deep) > 1
    lines = "lines for the lowest paths from the deepest minimum to the other deep ones" if ways else ""
    return {
        "answer": answer,
        "minima": f"{minima}.",
        "drawn": "".join(f", {each}" for each in (crosses, lines) if each),
    }


def deep_in_members(counts):
    """How many deep minima the members have, from an array for each d: words."""
    return joined(f"{_how_many(own)} at d = {d}" for d, own in counts.items())


def _how_many(own):
    low, high = int(np.min(own)), int(np.max(own))
    return (f"{low} to {high}" if low < high else f"{low}") + (" or more" if high == MAX_ENDS else "")


def beyond_the_map(counts):
    """How many deep minima members have where no map shows them, from an array for each d: a sentence or ""."""
    told = []
    for d, own in counts.items():
        valleys = "valley" if np.max(own) == 1 else "valleys"
        many = f"{_how_many(own)} {valleys} of {SHALLOW:g} kT or more, counting the lowest"
        told += [f"At d = {d} each corrected member has {many}."] * (d != 2)
    return " ".join(told)


def valleys_wanted(counts, n_states):
    """Whether members have as many deep minima, an array for each d, as there are states to be found: sentences."""
    told = f"This needs a deep valley for each of the {n_states} states that are sought. "
    if all(np.max(own) < min(n_states, MAX_ENDS) for own in counts.values()):
        return f"{told}Corrected members have fewer, and the groups are cuts through slopes."
    return f"{told}Even where minima are enough, {SHALLOW:g} kT is not deep."


def found_again(minima, others, saddles=(), reach=0.3):
    """How many minima of a map, shape (n, d), others have within this distance, and whether a saddle is as near: words.

    `others`: for words on where they are from a list of `LowestPaths`; `saddles`: of the map, shape (k, d).
    """

    def same(other):
        apart = np.linalg.norm(minima[:, None] - other.minima, axis=-1)
        return int((apart.min(axis=1) <= reach).sum())

    n, counts = len(minima), {words: [same(each) for each in own] for words, own in others.items() if own}
    told = [
        f"{words} {'all' if set(own) == {n} else joined(f'{k} of {n}' for k in own)}" for words, own in counts.items()
    ]
    told = f"Of those with numbers, there are again, within {reach:g} of their places: {'; '.join(told)}."
    near = min((np.linalg.norm(minima - saddle, axis=-1).min() for saddle in saddles), default=np.inf)
    return f"{told} (A weak test: a saddle is {near:.1f} away from one of them.)" if near < reach else told


def barriers_of(own):
    """How high the barriers of the first members' deep minima are, from their `LowestPaths`: a sentence."""
    highest = []
    for each in own:
        deep = each.persistence[np.isfinite(each.persistence) & (each.persistence >= SHALLOW)]
        highest += [f"{deep.max():.2f} kT" if len(deep) else "none"]
    if set(highest) == {"none"}:
        return ""
    return f"The highest barrier to a lower minimum in the first {len(own)} at d = 2: {joined(highest)}."


def along_paths(found, straight, mirrored, plain):
    """How lowest paths of corrected members do beside straight lines: sentences.

    `found` are outcomes of C7; for each d there are `Estimate`s of how high straight lines lie, and of how much surer a
    classifier is along lowest paths than along mirrored ones and, for plain members, than along straight lines.
    """
    if set(found["paths energy"].values()) <= {"none"}:
        return "No corrected member has two deep minima."
    low = said(
        found["paths energy"],
        yes="On average the lowest path stays lower than the straight line{at}.",
        no="On average the lowest path is not clearly lower than the straight line{at}.",
        contrary="On average the lowest path lies higher than the straight line{at}: it is longer.",
    )
    flat = {d: each for d, each in straight.items() if each.mean < 1}
    if flat:
        low += f" Even straight lines have a mean height of only {listed(flat)}, in kT: there are hardly any mountains."
    sure = found["paths sure"]
    words = {"yes": "surer", "no": "not clearly surer", "contrary": "less sure"}
    parts = [low, _in_one("Along lowest paths the classifier is {}, compared with straight lines.", sure, words)]
    sentence = "Along mirrored paths, which know no landscape, it is {}, compared with lowest ones."
    parts.append(_in_one(sentence, {d: side(mirrored[d]) for d in sure}, MIRRORED))
    without = "For members without a field the share of sure images, lowest paths minus straight lines, is"
    parts.append(
        said(
            {d: side(plain[d]) for d in sure},
            plain,
            above=f"{without} {{value}}: surer.",
            below=f"{without} {{value}}: less sure.",
            unclear=f"{without} {{value}}: neither clearly surer nor less sure.",
        )
    )
    return " ".join(filter(None, parts))


def rates(outcomes, ratios):
    """Whether walkers forget as fast as spectra predict: a sentence, from the outcomes and `Estimate`s of C7."""
    return said(
        outcomes,
        ratios,
        yes="Walkers forget as fast as spectra predict, to within a tenth{at}.",
        no=f"Walkers forget as fast as spectra predict to within {_off(outcomes, ratios):.0%} on average{{at}}, but "
        "intervals are too wide to rule out an error of a tenth.",
        contrary="Walkers take {value} times as long to forget as spectra predict.",
        none="How fast walkers forget could not be measured here{at}.",
    )


def _off(outcomes, ratios):
    """How far ratios whose outcome is "no" are from 1 at most."""
    return max((abs(ratios[d].mean - 1) for d, own in outcomes.items() if own == "no"), default=0)


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
        no=f"{times}, close to it on average but not certainly within a tenth."
        if _off(outcomes, ratios) <= 0.1
        else f"{times}, not certainly within a tenth.",
        contrary=f"{times}, off by more than a tenth.",
        none="For the slowest mode this could not be measured here{at}.",
    )
    if gaussian:
        alone = listed(gaussian, bare=len(gaussian) == 1)
        told += f" Relative to a prediction from the width of the latents alone, without valleys, it is {alone}. "
        told += said(
            {d: side(each) for d, each in nearer.items()},
            above="The landscape predicts better than the width{at}.",
            below="The width predicts better than the landscape{at}.",
            unclear="Neither predicts clearly better{at}.",
        )
    late = {d: side(Estimate(*(end - 1 for end in astuple(each)))) for d, each in ratios.items()}
    return told, said(
        late,
        above="Here they take longer{at}.",
        below="Here they take less time{at}.",
    )


def slowest_mode(time, gaussian, linear):
    """What is in the slowest modes: sentences.

    Parameters
    ----------
    time, gaussian : float
        The relaxation time of the slowest mode, and that of a Gaussian as wide as the density.
    linear : array
        The shares of the variance of modes that linear functions of the latents explain.
    """
    told = f"The slowest mode here has a relaxation time of {time:.1f}; a Gaussian as wide as these latents would "
    told += f"have {gaussian:.1f}. "
    if time < 0.9 * gaussian:
        told += "No shape explains that it is shorter: the level is not well known."
    elif time < 1.1 * gaussian:
        told += "Width explains it to within a tenth."
    elif time < FLAT * gaussian:
        told += f"It is {time / gaussian - 1:.0%} longer; a flat cloud without any valley, constant between two walls, "
        told += f"takes {FLAT - 1:.0%} longer."
    else:
        told += f"It is {time / gaussian - 1:.0%} longer. A flat cloud without valleys explains {FLAT - 1:.0%}; "
        told += "the rest is due to valleys or to long tails."
    shares = f"Linear functions of the latents explain {joined(f'{each:.0%}' for each in linear)} of the variance of "
    shares += "these modes over the images"
    more = "hardly more than directions, such as principal axes" if np.min(linear) >= LINEAR else "more than directions"
    return f"{told} {shares}: they are {more}."


def sorted_by(shares):
    """What each mode follows, in a few words each, and a sentence; nothing where nothing is known of the images.

    Parameters
    ----------
    shares : dict from str to array of shape (modes,)
        Of the variance of each mode, as `vaept.companion.analysis.followed` gives them.
    """
    properties = {name: own for name, own in shares.items() if name != "class"}
    of_modes = []
    for k in range(len(next(iter(shares.values()), ()))):
        own = [f"{shares['class'][k]:.0%} between classes"] if "class" in shares else []
        if properties:
            best = max(properties, key=lambda name: properties[name][k])
            own.append(f"{properties[best][k]:.0%} {best}")
        of_modes.append(", ".join(own))
    about = "; ".join(f"mode {k + 1}: {words}" for k, words in enumerate(of_modes))
    what = [*["the classes"] * ("class" in shares), *["the property of pictures that explains most"] * bool(properties)]
    return of_modes, f"Of the variance of each mode, this much goes with {joined(what)}: {about}." if what else ""


def sized(outcomes, values):
    """Outcomes, but where the difference, an `Estimate` for each d, is tiny "close" or, if it is a loss, "slight"."""
    small = {d: "slight" if values[d].high < 0 else "close" for d in outcomes if _hardly_matters(values[d])}
    return outcomes | small


def _hardly_matters(value):
    return value.low >= -CLOSE and value.high <= CLOSE  # never if they are NaN


def _in_one(sentence, outcomes, words):
    """One sentence with the words for all outcomes in the place of "{}", or "" if there are none."""
    told = said(outcomes, **{name: f"{own}{{at}}|" for name, own in words.items()})
    return sentence.format(joined(told.rstrip("|").split("| "))) if told else ""


def reached(outcomes, values, means, gains):
    """Whether metastable states reach the index that was asked for, and more than k-means does: sentences.

    For each d the outcomes, with the `Estimate`s, of the index and of its gain over k-means.
    """
    own = {"yes": "enough", "no": "not clearly enough", "contrary": "too little"}
    own = _in_one(f"The states have {listed(values)}: {{}}.", outcomes, own)
    beside = said(
        sized(means, gains),
        close=f"They do as well as k-means to within {CLOSE:g}{{at}}.",
        slight=f"They do worse than k-means by at most {CLOSE:g}{{at}}.",
        yes="They do better than k-means{at}.",
        no="They do not clearly do better than k-means{at}.",
        contrary="They do worse than k-means{at}.",
    )
    return f"{own} {beside}"


def read_otherwise(walk, few, images):
    """What modes of the walk tell beside positions, and images beside both: sentences.

    `walk` and `few` are outcomes, as `sized` gives them; `images`: for each d by how much the better of the groups of
    bare images beats the best of those of latents.
    """
    both = {"close": f"as well to within {CLOSE:g}", "slight": f"worse by at most {CLOSE:g}"}
    both |= {"yes": "better", "no": "neither clearly better nor worse", "contrary": "worse"}
    modes = "Beside k-means on the positions that corrected members give, modes of a random walk on their neighbour "
    modes += "graph, another motion, do"
    parts = [
        _in_one(f"{modes} {{}}.", walk, both),
        _in_one("With five labelled images per class they do {}.", few, both),
        said(
            {d: side(each) for d, each in images.items()},
            above="Groups of the bare images, without any latent, are closer to the classes than all of these{at}.",
            below="The best of these is closer to the classes than groups of the bare images{at}.",
        ),
    ]
    return " ".join(filter(None, parts))


def regions(outcomes, values, means):
    """How like the classes groups from slow modes are, beside k-means: a sentence, or "" where there are no classes.

    `values` and `means` are the indices of both, an `Estimate` for each d.
    """
    if not outcomes:
        return ""
    told = f"Groups made from slow modes match the classes with an index of {listed(values)}, "
    return f"{told}k-means on positions with {listed(means)} (1: the same)."


def directions(linear, d):
    """How much of the slowest modes is linear, for this d: a sentence from the shares of their variance."""
    more = "hardly more than directions" if np.min(linear) >= LINEAR else "more than directions"
    told = f"The slowest modes at d = {d} are {more}: linear functions of the latents explain"
    return f"{told} {np.min(linear):.0%} or more of each."


def by_width(nearer):
    """Where the width of the latents alone predicts walkers as well as the landscape or better: a sentence, or ""."""
    return said(
        {d: side(each) for d, each in nearer.items()},
        below="The width of the latents alone predicts it better{at}.",
        unclear="The width of the latents alone predicts it as well, as far as can be told{at}.",
    )


def crossing(brackets):
    """Where bounds of a level cross, from an `Estimate` of lower minus upper bound for each d: a sentence or ""."""
    crossed = {d: "" if each.mean <= 0 else "clearly" if each.low > 0 else "within" for d, each in brackets.items()}
    return said(
        crossed,
        clearly="The bounds cross{at}, by more than the errors: an assumption fails.",
        within="The bounds cross{at}, by less than the errors: they are near each other and certify nothing there, "
        "whatever their test says.",
    )


def dynamics(outcomes, ratios):
    """The verdict on dynamics: sentences, from outcomes of C7 and the `Estimate`s of its first check."""
    lower = said(
        outcomes["paths energy"],
        yes="On average lowest paths lie lower than straight lines{at}; their highest points do by construction.",
        no="Lowest paths are not clearly lower than straight lines{at}.",
        contrary="Lowest paths lie higher than straight lines, on average{at}.",
    )
    sure = said(
        outcomes["paths sure"],
        yes="The classifier is surer along them{at}.",
        no="The classifier is not clearly surer along them{at}.",
        contrary="The classifier is less sure along them{at}.",
    )
    return " ".join(filter(None, (rates(outcomes["relaxation"], ratios), lower, sure, _of_machinery(outcomes))))


def _of_machinery(outcomes):
    """How many of the tests that hold say mostly that the machinery works: a sentence, or "" if none hold."""
    held = {key: list(own.values()).count("yes") for key, own in outcomes.items()}
    checked, all_held = sum(held.get(key, 0) for key in MACHINERY), sum(held.values())
    if not all_held:
        return ""
    which = "all of them" if checked == all_held else f"{checked} of them" if checked else "none of them"
    return (
        f"Of C7 {all_held} {'tests hold' if all_held > 1 else 'test holds'}; {which} tell mostly that the machinery "
        "works: those on trial functions, bounds and heights of paths."
    )
