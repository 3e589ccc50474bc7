"""The examples in the docstrings of what users call, run as the pages of the reference show them."""

import doctest
import importlib

import numpy as np
import pytest
import torch

import vaept
from vaept.companion.reference import escape

ROOMS = ("datasets", "spectrum", "perturbation", "landscape", "vae", "uses")
FACES = {room: importlib.import_module(f"vaept.{room}") for room in ROOMS}
NAMES = [(room, name) for room, face in FACES.items() for name in face.__all__]


def test_every_name_of_the_package_is_in_a_room():
    assert set(vaept.__all__) <= {name for _, name in NAMES}


@pytest.mark.filterwarnings("ignore:The signs of components")  # of fields of few images
@pytest.mark.parametrize(("room", "name"), NAMES, ids=[".".join(pair) for pair in NAMES])
def test_the_example_gives_what_it_shows(room, name):
    face = FACES[room]
    names = {"np": np, "torch": torch, "vaept": vaept} | {each: getattr(face, each) for each in face.__all__}
    doc = getattr(face, name).__doc__
    test = doctest.DocTestParser().get_doctest(doc, names, name, None, None)
    assert test.examples, "no example"
    said = []
    assert not doctest.DocTestRunner().run(test, out=said.append).failed, "".join(said)


def test_pages_show_bars_and_stars_as_they_stand():
    lines = ["|z|² of (n, *sides), see `a | b`", "and `c", "* d`.", "Examples", "---", ">>> f(*x) | g"]
    escape(None, "function", "f", None, None, lines)
    assert lines == ["\\|z\\|² of (n, \\*sides), see `a | b`", "and `c", "* d`.", "Examples", "---", ">>> f(*x) | g"]
