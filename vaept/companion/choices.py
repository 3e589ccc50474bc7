"""Which of these do I need? A decision tree: from what a user needs to what is to be done, with what that reaches.

Questions and leaves are data. Numbers are taken from records when a book is built, of each data set from one study, so
that they can be compared: this copy's if it measured every leaf, else the one published for the digits; and beside it
what is published of another kind of data.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np

from vaept.companion.checks_training import LAB, of_both
from vaept.companion.records import published
from vaept.companion.report import KEPT, MOST, STEADY
from vaept.companion.tables import whose
from vaept.companion.wording import listed
from vaept.errors import VaeptError
from vaept.vae.agreement import mean_over_members

PLAIN = "cold"  # the arm that others are compared with


@dataclass(frozen=True)
class Leaf:
    """What to do, in HTML; and what of it is measured: a function of `Records` and d, for the "{}" of words.

    `cost` is another such function: −ELBO minus that of plain members, in nats; None: nothing is trained.
    """

    do: str
    words: str
    value: Callable
    cost: Callable | None = None


@dataclass(frozen=True)
class Question:
    """A question, in HTML, and what follows if it is answered with no or with yes: another one, or a `Leaf`."""

    words: str
    no: "Question | Leaf"
    yes: "Question | Leaf"


def _agreement(arm):
    """Coordinate agreement of an arm of the price list, as a function of records and d."""

    def value(records, d):
        found = records.price(arm, d)
        return None if found is None else found.coordinates

    return value


def _cost(arm):
    """What an arm of the price list costs beside plain members of the same seeds, as a function of records and d."""

    def value(records, d):
        found, plain = records.price(arm, d), records.price(PLAIN, d)
        return None if found is None or plain is None else _difference(found, plain)

    return value


def _difference(found, plain):
    """−ELBO minus that of plain members with the same seeds, which are the first of both."""
    return mean_over_members(of_both(found.minus_elbo, plain.minus_elbo).ravel())


def _neighbours(records, d):
    """Which share of their neighbours plain members have in common."""
    return records.arms[PLAIN, d].agreement.neighbours if (PLAIN, d) in records.arms else None


def _lab(records, arm, d):
    return next((each for each in records.labs if (each.arm, each.d) == (arm, d)), None)


def _between(records, d):
    """Coordinate agreement between two labs that make the field of `LAB` each of its own data."""
    found = _lab(records, LAB, d)
    return None if found is None else found.between


def _cost_in_labs(records, d):
    found, plain = _lab(records, LAB, d), _lab(records, PLAIN, d)
    return None if found is None or plain is None else _difference(found, plain)


AGREE = "Coordinates agree to {}."
NOTHING = Leaf(
    "<strong>Do nothing</strong>, if <code>vaept report</code> says of neighbours that most hold (two runs share more "
    f"than {MOST:.0%}), or of clusters that they are the same in every run (the Rand index of two runs is above "
    f"{KEPT:.0%} of that within one, which is {STEADY:g} or more). Otherwise rely only on "
    "neighbours or clusters that all your runs share.",
    "Two plain models share this fraction of their ten nearest neighbours, and differ in the others: {}.",
    _neighbours,
)
FLIP = Leaf(
    "<strong>Flip and swap coordinates</strong> to match one of the models: <code>vaept.orient</code> with "
    '<code>group="signed permutation"</code>.',
    AGREE,
    _agreement(f"{PLAIN}, permuted"),
)
TURN = Leaf(
    "<strong>Turn the models</strong> onto their consensus: <code>vaept.align</code>.",
    AGREE,
    _agreement(f"{PLAIN}, turned"),
)
APART = Leaf(
    "<strong>Train in a field that each group makes of its own data</strong>, by the same recipe: "
    "<code>vaept.subspace_field</code>.",
    "Coordinates of two groups agree to {}.",
    _between,
    _cost_in_labs,
)
TRAINED = Leaf(
    "<strong>Let one trained model be the field</strong>: its means of the training examples, standardised.",
    AGREE,
    _agreement("trained"),
    _cost("trained"),
)
START = Leaf(
    "<strong>Train in a field</strong>: <code>vaept.recommend</code> chooses one. The numbers are those of the "
    "cheapest, <code>vaept.pca_field</code> in the first tenth, with "
    '<code>schedule={"warm_start": 0.1, "switch_off": 0.1}</code>.',
    AGREE,
    _agreement("start_10"),
    _cost("start_10"),
)
LEAVES = (NOTHING, FLIP, TURN, APART, TRAINED, START)
TREE = Question(
    "Do you read single coordinates, or directions?",
    no=NOTHING,
    yes=Question(
        "Turn the models first: this costs nothing, and with few examples and many coordinates it can reach more than "
        "a field (compare the numbers below). Do you need more, and can you train again?",
        no=Question("Must every axis stay an axis, so that coordinates are only renamed?", no=TURN, yes=FLIP),
        yes=Question(
            "Must groups that cannot share their data agree?",
            no=Question(
                "Do you have one trained model that all others, now or later, should match?", no=START, yes=TRAINED
            ),
            yes=APART,
        ),
    ),
)


class Tree(str):
    """Nested lists in HTML, which a notebook shows."""

    def _repr_html_(self):
        return str(self)


def tree(records):
    """The decision tree, with numbers of some `Records` or of what is published, as a `Tree`."""
    found = source(records)
    several = [found, *beside(found)]
    names = {id(each): f"{'' if each is records else ', published'} ({escape(each.data)})" for each in several}
    on = " and ".join(escape(each.data) for each in several)
    below = f"The numbers were measured on {on}. {whose(found)}".strip()
    if found is not records:
        lacking = [leaf for leaf in LEAVES if not measured(records, leaf)]
        without = "; ".join(re.search("<strong>(.*?)</strong>", leaf.do)[1].lower() for leaf in lacking)
        when = found.provenance["created"][:10]
        below += f" What is published ({escape(found.data)}) dates from {when}; this copy did not measure: {without}."
    return Tree(f'<ul class="choices">\n{_item(TREE, several, names)}</ul>\n<p class="choices-source">{below}</p>\n')


def beside(found):
    """Published `Records` of another kind of data that have every leaf, as a list of one or none."""
    for name in ("cells", "digits"):
        try:
            other = published(name)
        except VaeptError:  # no checkout
            return []
        if other and other.data != found.data and all(measured(other, leaf) for leaf in LEAVES):
            return [other]
    return []


def source(records):
    """The `Records` that the numbers are from: these, unless a leaf is missing and what is published has all."""
    if all(measured(records, leaf) for leaf in LEAVES):
        return records
    try:
        other = published("digits")
    except VaeptError:  # no checkout
        return records
    return other if all(measured(other, leaf) for leaf in LEAVES) else records


def measured(records, leaf, what="value"):
    """What records have of a leaf: a dict from d to `Estimate`, without those that could not be measured."""
    take = getattr(leaf, what)
    found = {d: take(records, d) for d in records.all_dims} if take else {}
    return {d: value for d, value in found.items() if value is not None and not np.isnan(value.mean)}


def told(several, leaf, names=None):
    """What a leaf reaches and costs, in sentences, in each of several `Records`, with their names by id."""
    reached = _each(several, leaf, "value", names)
    if not reached:
        return "How far this reaches was not measured here."
    price = "It needs no training."
    if leaf.cost is not None:
        costs = _each(several, leaf, "cost", names)
        price = f"−ELBO minus that of plain models (negative: better), in nats: {costs}."
        price = price if costs else "What it costs was not measured here."
    return f"{leaf.words.format(reached)} {price}".replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def _each(several, leaf, what, names):
    """What several `Records` have of a leaf, in words, followed by their names where they are more than one."""
    found = {names[id(each)] if names else "": measured(each, leaf, what) for each in several}
    known = {name: listed(own) for name, own in found.items() if own}
    if len(several) == 1:
        return "".join(known.values())
    return "; ".join(f"{own}{name}" for name, own in known.items())


def _item(node, several, names, answer=""):
    """A question with what follows, or a leaf, as an item of a list; the answer that leads to it stands first."""
    first = f'<span class="answer">{answer}</span> ' if answer else ""
    if isinstance(node, Leaf):
        return f'<li class="leaf">{first}{node.do} <span class="reached">{told(several, node, names)}</span></li>\n'
    first += node.words
    inner = _item(node.no, several, names, "No:") + _item(node.yes, several, names, "Yes:")
    return f"<li>{first}\n<ul>\n{inner}</ul>\n</li>\n"
