"""Types of what users call: each public function, method and property says what it takes and what it gives.

That they are right is for mypy to say, which `make lint` runs.
"""

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest

import vaept

ROOMS = ("datasets", "spectrum", "perturbation", "landscape", "vae", "uses")
SHOWN = ("spectrum.oscillator", "vae.pairs")  # what chapters, and what is done as they do, call beside the rooms
SHOWN += tuple(f"uses.{use}" for use in ("clustering", "denoising", "detours", "generation", "interchange", "outliers"))
SHOWN += ("uses.paths", "uses.relaxation", "uses.turning")
SPECIAL = ("__init__", "__call__", "__format__")


def functions():
    """All public functions and methods by their name: of rooms, of `SHOWN`, and of classes whose objects these give."""
    faces = [importlib.import_module(f"vaept.{room}") for room in ROOMS]
    queue, found = [getattr(face, name) for face in faces for name in face.__all__], {}
    for module in (importlib.import_module(f"vaept.{name}") for name in SHOWN):
        own = [each for name, each in vars(module).items() if not name.startswith("_") and inspect.isfunction(each)]
        queue += [each for each in own if each.__module__ == module.__name__]
    while queue:
        each = queue.pop()
        name = f"{each.__module__}.{each.__qualname__}"
        if name in found or not each.__module__.startswith("vaept."):
            continue
        found[name] = each
        module = importlib.import_module(each.__module__)
        if inspect.isclass(each):
            queue += [method for key, value in vars(each).items() if (method := plain(key, value))]
            types = [field.type for field in dataclasses.fields(each)] if dataclasses.is_dataclass(each) else []
        else:
            types = [getattr(module, str(inspect.signature(each).return_annotation), None)]
        queue += [kind for kind in types if inspect.isclass(kind)]
    return {name: each for name, each in found.items() if not inspect.isclass(each)}


def plain(name, value):
    """The function behind an attribute of a class, if it is a public one."""
    if name.startswith("_") and name not in SPECIAL:
        return None
    value = value.fget if isinstance(value, property) else getattr(value, "func", value)
    value = inspect.unwrap(getattr(value, "__func__", value))
    return value if inspect.isfunction(value) and value.__module__.startswith("vaept.") else None


FUNCTIONS = functions()


def test_methods_and_results_are_among_them():
    assert len(FUNCTIONS) > 120
    assert {"vaept.vae.ensemble.Ensemble.load", "vaept.uses.member.Member.energy"} <= FUNCTIONS.keys()
    assert "vaept.landscape.paths.MinimumEnergyPath.points" in FUNCTIONS  # which `lowest_paths` leads to


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_arguments_and_results_have_types(name):
    signature = inspect.signature(FUNCTIONS[name])
    own = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    assert not [each.name for each in own if each.annotation is each.empty]
    assert signature.return_annotation is not signature.empty


def test_type_checkers_see_what_is_exported():
    tree = ast.parse(Path(vaept.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == vaept.__all__
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(vaept, name)
