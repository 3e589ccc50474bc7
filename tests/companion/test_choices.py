import dataclasses
import re
from html.parser import HTMLParser

import pytest

from vaept.companion import choices
from vaept.errors import InputError
from vaept.vae.agreement import Estimate


def nodes(node=choices.TREE):
    """The node of a decision tree and all below it."""
    yield node
    if isinstance(node, choices.Question):
        for other in (node.no, node.yes):
            yield from nodes(other)


@pytest.fixture
def full(records):
    """Records that have a number for every leaf."""
    (turned,) = [each for each in records.prices if each.arm == "cold, turned" and each.d == 2]
    names = ("cold", "cold, permuted", "trained", "start_10")
    more = [dataclasses.replace(turned, arm=name, d=d) for d in (2, 4) for name in names]
    return dataclasses.replace(records, prices=[*records.prices, *more])


@pytest.fixture
def nothing_published(monkeypatch):
    def published(profile):
        raise InputError("Run from a checkout.")

    monkeypatch.setattr(choices, "published", published)


class Lists(HTMLParser):
    """How deep lists are nested, and whether every tag is closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open, self.deepest, self.leaves = [], 0, 0

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.deepest = max(self.deepest, self.open.count("ul"))
        self.leaves += ("class", "leaf") in attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_leaf_is_reached_by_one_path():
    leaves = [node for node in nodes() if isinstance(node, choices.Leaf)]
    assert len(leaves) == 6 and set(map(id, leaves)) == set(map(id, choices.LEAVES))
    assert all(node.words.endswith("?") for node in nodes() if isinstance(node, choices.Question))


def test_turning_is_tried_before_training_again():
    again = choices.TREE.yes
    assert again.words.startswith("Turn the models first") and choices.TURN in (again.no.no, again.no.yes)
    assert f"more than {choices.MOST:.0%}" in choices.NOTHING.do


def test_tree_is_nested_lists_in_which_each_answer_stands_first(full, nothing_published):
    shown, found = choices.tree(full), Lists()
    found.feed(shown)
    assert not found.open and found.leaves == 6 and found.deepest <= 5  # or it is too narrow on a phone
    answers = re.findall(r'<li[^>]*><span class="answer">(No|Yes):</span>', shown)
    assert len(answers) == 10 and answers.count("Yes") == 5
    assert shown == shown._repr_html_()


def test_every_leaf_has_a_number_of_one_study(full, monkeypatch):
    monkeypatch.setattr(choices, "published", {}.get)
    assert choices.source(full) is full
    shown = choices.tree(full)
    reached = re.findall(r'<span class="reached">(.*?)</span>', shown)
    assert len(reached) == 6 and all(re.search(r"−?\d\.\d\d \[−?\d\.\d\d, −?\d\.\d\d\]", each) for each in reached)
    assert "not measured" not in shown and "published" not in shown


def test_numbers_follow_the_records(full, nothing_published):
    prices = [dataclasses.replace(each, coordinates=Estimate(0.123, 0.1, 0.2)) for each in full.prices]
    told = choices.told([dataclasses.replace(full, prices=prices)], choices.TURN)
    assert told.startswith("Coordinates agree to 0.12 [0.10, 0.20] at") and told.endswith("It needs no training.")


def test_costs_are_differences_of_members_with_the_same_seeds(full):
    prices = [
        dataclasses.replace(each, minus_elbo=each.minus_elbo[:5] - 0.5, active_units=each.active_units[:5])
        if each.arm == "trained"
        else each
        for each in full.prices
    ]
    found = choices.measured(dataclasses.replace(full, prices=prices), choices.TRAINED, "cost")
    assert found.keys() == {2, 4} and all(value.mean == pytest.approx(-0.5) for value in found.values())


def test_a_leaf_without_a_number_says_so_where_nothing_is_published(records, nothing_published):
    shown = choices.tree(dataclasses.replace(records, prices=[], labs=[]))
    assert shown.count("How far this reaches was not measured here.") == 5
    assert shown.count("share this fraction") == 1 and "published" not in shown and "did not measure" not in shown


def test_published_numbers_of_the_digits_stand_in_and_are_named(records, full, monkeypatch):
    other = dataclasses.replace(full, data="a <b> set", provenance={"created": "2026-01-02T03:04"})
    monkeypatch.setattr(choices, "published", {"digits": other}.get)
    shown = choices.tree(dataclasses.replace(records, prices=[], data="own"))
    assert "measured on a &lt;b&gt; set. What is published (a &lt;b&gt; set) dates from 2026-01-02" in shown
    assert "did not measure: flip and swap coordinates; turn the models;" in shown
    assert "not measured here" not in shown


def test_another_kind_of_data_stands_beside(full, monkeypatch):
    monkeypatch.setattr(choices, "published", {"cells": dataclasses.replace(full, data="cells")}.get)
    assert choices.beside(dataclasses.replace(full, data="cells")) == []
    shown = choices.tree(full)
    assert shown.count(f"({full.data}); ") == shown.count(", published (cells)") == 9
    assert f"measured on {full.data} and cells." in shown


def test_what_is_published_of_the_digits_has_every_leaf(records):
    found = choices.source(dataclasses.replace(records, prices=[]))
    assert found.profile == "digits" and all(choices.measured(found, leaf) for leaf in choices.LEAVES)
    (cells,) = choices.beside(found)
    assert cells.profile == "cells"
