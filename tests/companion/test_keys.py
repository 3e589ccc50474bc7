"""Keys of results: what code decides a result, and what does not."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from vaept.companion import keys, parts, study
from vaept.companion.keys import source_hash
from vaept.companion.profiles import Run, profile
from vaept.companion.store import RunStore
from vaept.companion.study import Study
from vaept.perturbation import fields
from vaept.uses import relaxation


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's sources that keys are made from, and a function that changes a file of it."""
    copy = tmp_path / "vaept"
    shutil.copytree(keys.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(keys, "PACKAGE", copy)
    keys.forget()

    def change(name, before, after):
        path = copy / f"{name}.py"
        text = path.read_text("utf-8")
        assert before in text, f"{name}.py no longer holds {before!r}; choose another line"
        path.write_text(text.replace(before, after), "utf-8")
        keys.forget()

    yield change
    monkeypatch.undo()
    keys.forget()


@pytest.fixture
def named(tmp_path, monkeypatch):
    """A function that gives the names of all results of a study, as a dict from words, without making any."""

    def obtain(self, kind, requests, make):
        folders = [self.root / self.name(kind, request) for request in requests]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        return folders

    monkeypatch.setattr(RunStore, "obtain_together", obtain)

    def names():
        it = Study(profile("quick"), RunStore(tmp_path / "runs"), jobs=1)
        found = {"classifier": it.classifier_folder().name}
        for kind in (*fields.FIELDS, "shuffled"):
            found[f"field {kind}"] = it.field_folder(kind).name
        for arm in it.profile.arms:
            found[f"ensemble {arm}"] = it.ensemble_folder(Run(2, arm)).name
            found[f"evaluation {arm}"] = it.evaluation_folder(Run(2, arm)).name
            found |= {f"{name} {arm}": folder.name for name, folder in it.measure_folders(Run(2, arm)).items()}
        return found

    return names


MEASURES = ("paths", "detours", "relaxation", "bracket", "clustering", "denoising", "outliers", "generation", "turning")
MEASURES += ("mixture", "modes")
# A line of a helper, what it becomes, and the results that come through it: the first words of their names.
CHANGES = [
    (
        "perturbation/_graph",
        "DENSE = 2000",
        "DENSE = 2001",
        ("field diffusion", *(f"{x} diffusion" for x in ("ensemble", "evaluation"))),
    ),
    ("perturbation/fields", 'init="pca"', 'init="random"', "neighbour"),
    ("perturbation/_signs", "N_COSINES = 64", "N_COSINES = 65", "fields"),
    ("vae/training", "1 + math.cos(math.pi * progress)", "1.0 + math.cos(math.pi * progress)", "ensembles"),
    ("vae/marginal_likelihood", "CHUNK_VALUES = 2**24", "CHUNK_VALUES = 2**23", ("evaluation",)),
    ("uses/member", "SAMPLES = 50_000", "SAMPLES = 50_001", MEASURES),
    ("spectrum/_sampled", "MASS_CUTOFF = 1e-10", "MASS_CUTOFF = 2e-10", MEASURES),
    ("landscape/dynamics", "TOO_FAR = 1e3", "TOO_FAR = 2e3", ("relaxation", "bracket", "generation")),
    ("uses/relaxation", "WALKERS = 200", "WALKERS = 201", ("relaxation",)),
    ("uses/modes", "DRAWS = 5, 20", "DRAWS = 5, 21", ("modes",)),
    ("uses/clustering", "def measure(", "UNUSED = 1\n\n\ndef measure(", ()),
    ("uses/denoising", "def measure(member: Member", "def measure(member: Member, *, unused=None", ("denoising",)),
    ("uses/classifier", "BATCH = 128", "BATCH = 129", ("classifier", *MEASURES)),
]


def expected(names, what):
    if isinstance(what, tuple):
        return {name for name in names if name.startswith(what)}
    in_field = {"neighbour": ("neighbour", "shuffled"), "fields": (*parts.REPEATED, "shuffled"), "ensembles": ()}[what]
    arms = {"corrected" if kind == "neighbour" else kind for kind in in_field} or {name.split()[-1] for name in names}
    found = {f"field {kind}" for kind in in_field}
    return found | {name for name in names if " " in name and not name.startswith("field") and name.split()[-1] in arms}


@pytest.mark.parametrize(
    ("module", "before", "after", "what"), CHANGES, ids=[f"{m}: {b[:20]}" for m, b, _, _ in CHANGES]
)
def test_a_changed_helper_makes_exactly_the_dependent_results_anew(module, before, after, what, package, named):
    old = named()
    package(module, before, after)
    new = named()
    assert {name for name in old if old[name] != new[name]} == expected(old, what)


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        ("vae/training", "Lower the learning rate", "Use a smaller learning rate"),
        ("vae/training", "note((number, member.done, member.loss()))", "note((number, member.done, None))"),
        ("arguments", "must be an integer", "has to be an integer"),
        ("arguments", "LARGEST = 1e100", "LARGEST = 1e99"),
        ("errors", '"""A member whose loss', '"""Some member whose loss'),
        ("perturbation/_field", "hang on little", "hang on not much"),
        ("progress", "leave=False", "leave=True"),
        ("landscape/dynamics", '"Langevin"', '"walkers"'),
        ("uses/classifier", 'unit="epoch"', 'unit="pass"'),
        ("companion/figures/seeds", "figsize=(WIDTH, 2.7)", "figsize=(WIDTH, 2.8)"),
        ("companion/markdown", "Minus signs are set as such", "Minus signs too"),
        ("processes", "time", "time"),
        ("vae/ensemble", "# torch fills new layers", "# Torch fills new layers"),
        ("companion/commands", "Saved {output}", "Wrote {output}"),
        ("array_files", 'f"There is no file', 'f"No file'),
    ],
)
def test_what_only_shows_or_words_things_is_in_no_key(module, before, after, package, named):
    old = named()
    package(module, before, after)
    assert named() == old


@pytest.mark.slow
def test_results_are_really_made_again(package, tmp_path):
    """Not the keys alone: a change of a measure, with everything carried out."""
    import dataclasses

    small = dataclasses.replace(
        profile("quick"), latent_dims=(2,), members=2, epochs=1, likelihood_images=0, importance_samples=1
    )
    store = RunStore(tmp_path / "runs")

    def made():
        it = Study(small, store, jobs=1)
        it.evaluation(2, "shuffled"), it.uses(2, "shuffled")
        return {path.name for path in store.root.iterdir()}

    first = made()
    assert made() == first
    package("uses/clustering", "def measure(member: Member", "def measure(member: Member, *, unused=None")
    new = made() - first
    assert len(new) == 1 and next(iter(new)).startswith("measure-")


def test_a_figure_decides_a_chapter(package):
    chapter = "from vaept.companion import figures\nfigures.teaser([], [], None)\n"
    old = source_hash(chapter), source_hash("from vaept.spectrum import oscillator\noscillator.levels(3)\n")
    package("companion/figures/fields", "def teaser(", "def teaser(  # noqa\n        *, now=1, _")
    new = source_hash(chapter), source_hash("from vaept.spectrum import oscillator\noscillator.levels(3)\n")
    assert old[0] != new[0] and old[1] == new[1]
    assert source_hash(chapter) != source_hash(chapter + "x = 1\n")


def of(text, tmp_path, monkeypatch):
    (tmp_path / "one.py").write_text(text)
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "arguments.py").write_text("")
    monkeypatch.setattr(keys, "PACKAGE", tmp_path)
    keys.forget()
    return source_hash(("vaept.one", "f"))


def test_words_and_progress_do_not_count_and_code_does(tmp_path, monkeypatch):
    plain = "import warnings\nfrom vaept.progress import bar\n\n\ndef f(x, progress=True):\n"
    plain += "    for _ in bar(range(3), 'steps', show=progress):\n        x = x + 1\n"
    plain += "    if x < 0:\n        raise ValueError(f'{x} is negative')\n    return x\n"
    base = of(plain.replace("    for", "    x = x\n    for"), tmp_path, monkeypatch)
    worded = plain.replace("is negative", "is below zero").replace("'steps', show=progress", "'walk', unit='s'")
    worded = worded.replace("def f(x, progress=True):\n", 'def f(x, progress=True):\n    """Add three."""\n')
    worded = worded.replace("x < 0", "x < 1").replace("ValueError", "KeyError")
    worded = worded.replace("import warnings\n", "import warnings\nfrom vaept import arguments\n")
    worded = worded.replace("    for", "    arguments.number(x, 'x')\n    x = arguments.number(x, 'x', 0)\n    for")
    worded = worded.replace(
        "    return x\n", "    warnings.warn('done', stacklevel=2)\n    note(x)\n    return (x)  # at last\n"
    )
    assert of("'''What it is for.'''\n\n" + worded + "\n\ndef apart():\n    return 3\n", tmp_path, monkeypatch) == base
    for before, after in [
        ("x + 1", "x + 2"),
        ("range(3)", "range(4)"),
        ("in bar(range(3), 'steps', show=progress)", "in x"),
    ]:
        assert of(plain.replace(before, after), tmp_path, monkeypatch) != base
    assert (
        of(plain.replace("import warnings\n", "import warnings\n\nif True:\n    x = 3\n"), tmp_path, monkeypatch)
        != base
    )
    keys.forget()


@pytest.mark.parametrize(
    "guard",
    [
        "    if (x := x + 1) < 0:\n        raise ValueError\n",
        "    if x < 0:\n        raise ValueError\n    else:\n        x = 1\n",
    ],
)
def test_an_if_that_does_more_than_refuse_counts(guard, tmp_path, monkeypatch):
    base = of("def f(x):\n    return x\n", tmp_path, monkeypatch)
    assert of(f"def f(x):\n{guard}    return x\n", tmp_path, monkeypatch) != base
    keys.forget()


def test_a_list_that_is_called_arguments_counts(tmp_path, monkeypatch):
    base = of("def f(arguments):\n    return arguments\n", tmp_path, monkeypatch)
    changed = of("def f(arguments):\n    arguments.append(1)\n    return arguments\n", tmp_path, monkeypatch)
    assert changed != base
    keys.forget()


ANNOTATED = """from typing import TYPE_CHECKING

from vaept.kinds import Kind

if TYPE_CHECKING:
    from vaept.kinds import Other

TABLE: "dict" = {1: 2}


def f(x: "Other", *rest: "int", key: "str | None" = None, **more: "float") -> "Kind":
    y: "list[int]" = [TABLE[x]]
    return y
"""


def test_annotations_in_quotes_count_for_nothing(tmp_path, monkeypatch):
    (tmp_path / "kinds.py").write_text("class Kind:\n    pass\n\n\nclass Other:\n    pass\n")
    plain = "TABLE = {1: 2}\n\n\ndef f(x, *rest, key=None, **more):\n    y = [TABLE[x]]\n    return y\n"
    base = of(plain, tmp_path, monkeypatch)
    assert of(ANNOTATED, tmp_path, monkeypatch) == base
    assert set(keys.reached(("vaept.one", "f"))[0]) == {("vaept.one", "f"), ("vaept.one", "TABLE")}
    for before, after in [
        ('x: "Other"', 'x: "Kind | None"'),
        ('-> "Kind"', '-> "list"'),
        ("from vaept.kinds import Other", "import numpy as np"),
        ("from vaept.kinds import Other\n", "from vaept.kinds import Other\nelse:\n    TABLE = {}\n"),
    ]:
        assert before in ANNOTATED
        changed = of(ANNOTATED.replace(before, after), tmp_path, monkeypatch)
        assert (changed == base) == ("else" not in after), after
    keys.forget()


def test_annotations_without_quotes_and_those_of_fields_count(tmp_path, monkeypatch):
    (tmp_path / "kinds.py").write_text("class Kind:\n    pass\n")
    plain = "from vaept.kinds import Kind\n\n\ndef f(x):\n    return x\n"
    base = of(plain, tmp_path, monkeypatch)
    assert of(plain.replace("(x)", "(x: Kind)"), tmp_path, monkeypatch) != base
    assert ("vaept.kinds", "Kind") in keys.reached(("vaept.one", "f"))[0]
    fields = "class f:\n    x: 'int' = 1\n"
    base = of(fields, tmp_path, monkeypatch)
    assert of(fields.replace("int", "ClassVar"), tmp_path, monkeypatch) != base
    assert of(fields.replace(": 'int'", ""), tmp_path, monkeypatch) != base
    keys.forget()


# Errors after which reached code goes on: of other packages, of files that are made again, of a member that is lost.
GOES_ON = {"LinAlgError", "DamagedFileError", "TrainingError"}


def test_no_refusal_is_caught_where_results_are_made():
    """So that what only refuses can be in no key."""
    roots = [*parts.TRAINING, *parts.EVALUATION, *parts.COMPARISONS, *parts.made_by_field("shuffled")]
    roots += [*fields.FIELDS.values(), parts.agreement_of_fields, study.fit_classifier, study.Classifier]
    roots += [*parts.INTERCHANGE, *parts.BASELINES]
    roots += [root for name in MEASURES for root in parts.made_by_measure(name)]
    code, _ = keys.reached(*roots)
    names = {place for place in code if place[1] is not None}
    seen = 0
    for module, name in names:
        for node in keys.parsed(module).definitions.get(name, ()):
            for handler in (each for each in ast.walk(node) if isinstance(each, ast.ExceptHandler)):
                caught = {each.attr if isinstance(each, ast.Attribute) else each.id for each in _parts(handler.type)}
                assert isinstance(handler.body[-1], ast.Raise) or caught <= GOES_ON, f"{module}.{name} catches {caught}"
                seen += 1
    assert seen >= 4


def _parts(caught):
    assert caught is not None, "a bare except"
    return caught.elts if isinstance(caught, ast.Tuple) else [caught]


def test_names_are_followed_through_imports_classes_and_modules(tmp_path, monkeypatch):
    files = {
        "__init__": "from vaept.lower import g\n",
        "one": "from vaept import lower\nfrom vaept.kinds import Kind as K, TABLE\n\n\n"
        "def f(x):\n    g = 1\n    return lower.h(K(x))\n",
        "lower": "def g():\n    return 1\n\n\ndef h(x):\n    return g()\n\n\ndef unused():\n    return 2\n",
        "kinds": "from vaept.lower import unused\n\nTABLE = {}\n\n\n"
        "class Kind:\n    def method(self):\n        return unused()\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(keys, "PACKAGE", tmp_path)
    keys.forget()
    code, packages = keys.reached(("vaept.one", "f"))
    assert set(code) == {
        ("vaept.one", "f"),
        ("vaept.lower", "h"),
        ("vaept.lower", "g"),
        ("vaept.kinds", "Kind"),
        ("vaept.lower", "unused"),
    }
    assert packages == set()
    whole, _ = keys.reached("from vaept import lower\nprint(lower)\n")
    assert ("vaept.lower", None) in whole
    handed_on, _ = keys.reached("from vaept import g\ng()\n")
    assert ("vaept.lower", "g") in handed_on
    keys.forget()


def test_where_a_definition_stands_does_not_count(tmp_path, monkeypatch):
    one = "import numpy as np\nfrom vaept import lower\n\n\ndef f(x):\n    return np.exp(lower.g(x))\n"
    (tmp_path / "lower.py").write_text("def g(x):\n    return x + 1\n")
    base = of(one, tmp_path, monkeypatch)
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text("from vaept.room.inner import g\n")
    (tmp_path / "room" / "inner.py").write_text("def g(x):\n    return x + 1\n")
    moved = one.replace("from vaept import lower", "from vaept import room").replace("lower.g", "room.g")
    assert of(moved, tmp_path, monkeypatch) == base
    late = moved.replace("import numpy as np\n", "").replace("    return", "    import numpy as np\n\n    return")
    assert of(late, tmp_path, monkeypatch) == base
    assert of(one.replace("import numpy", "import scipy"), tmp_path, monkeypatch) != base
    (tmp_path / "room" / "inner.py").write_text("def g(x):\n    return x + 2\n")
    assert of(moved, tmp_path, monkeypatch) != base
    keys.forget()


def test_other_packages_count_by_version(monkeypatch):
    _, packages = keys.reached(fields.neighbour_field)
    assert {"sklearn", "numpy", "scipy"} - {"scipy"} <= packages
    before, without = source_hash(fields.neighbour_field), source_hash(fields.neighbour_field, versions=False)
    keys.forget()
    monkeypatch.setattr(keys, "_version", lambda package: "0.1")
    assert source_hash(fields.neighbour_field) != before
    assert source_hash(fields.neighbour_field, versions=False) == without
    keys.forget()


def test_a_measure_reaches_what_makes_its_member():
    code, _ = keys.reached(*parts.made_by_measure("relaxation"))
    modules = {module for module, _ in code}
    assert {
        "vaept.uses.relaxation",
        "vaept.uses.member",
        "vaept.spectrum._sampled",
        "vaept.landscape.dynamics",
    } <= modules
    assert not {f"vaept.{name}" for name in ("progress", "processes", "files", "companion.commands")} & modules
    assert relaxation.measure.__module__ == "vaept.uses.relaxation"


def test_every_part_of_the_published_code_differs():
    hashes = parts.code_hashes()
    assert len(set(hashes.values())) == len(hashes) == 6 + len(MEASURES)
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes.values())
    assert Path(keys.PACKAGE).name == "vaept"
