"""The files around the package: what is installed, by which command, and what the user is told when it fails."""

import ast
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
import zipfile
from datetime import date
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import vaept
from vaept.companion import downloads

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PARALLEL = "-n 2 --dist loadfile --no-loadscope-reorder"
NAMES_IN_CONDA = {"torch": "pytorch"}


# Where the lock file must serve. Markers of packages ask for these and for nothing else.
ENVIRONMENTS = {
    f"{system} {python}": {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
        "platform_machine": {"linux": "x86_64", "darwin": "arm64"}[system],
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for system in ("linux", "darwin")
    for python in ("3.11", "3.12", "3.13")
}


def project_name(requirement):
    return canonicalize_name(re.split(r"[<>=!~\[ ]", requirement)[0])


def pins(environment=None):
    """Names and versions that requirements.lock pins in an environment, or in this one."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [pin for pin in pinned if pin.marker is None or pin.marker.evaluate(environment)]
    assert len({canonicalize_name(pin.name) for pin in here}) == len(here)
    assert all([one.operator for one in pin.specifier] == ["=="] for pin in pinned)
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in here}


def run(*command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", **kwargs)


def test_environment_yml_agrees_with_pyproject():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    conda = {item for item in listed if isinstance(item, str)} - {"pip"}
    python = next(item for item in conda if item.startswith("python>"))
    assert python.startswith("python" + PYPROJECT["project"]["requires-python"])
    expected = set()
    for requirement in PYPROJECT["project"]["dependencies"]:
        name = project_name(requirement)
        expected.add(NAMES_IN_CONDA.get(name, name) + requirement[len(name) :])
    assert conda - {python} == expected
    extras = ",".join(PYPROJECT["project"]["optional-dependencies"])
    assert listed[-1] == {"pip": [f"-e .[{extras}]"]}


def needed(environment):
    """What pyproject.toml asks for in an environment, and what that asks for in turn, as (asked by, Requirement).

    Of a package that is not installed here, because it is for other environments, it cannot be known what it asks for.
    """
    project = PYPROJECT["project"]
    roots = [*PYPROJECT["build-system"]["requires"], *project["dependencies"]]
    roots += itertools.chain(*project["optional-dependencies"].values())
    waiting, seen = [("vaept", Requirement(root)) for root in roots], set()
    while waiting:
        asker, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(("nvidia-", "cuda-", "triton")):  # of torch's own build for Linux; a CPU build has none
            continue
        yield asker, requirement
        for extra in {"", *requirement.extras} - {extra for other, extra in seen if other == name}:
            seen.add((name, extra))
            with contextlib.suppress(metadata.PackageNotFoundError):
                for asked in map(Requirement, metadata.requires(name) or []):
                    if asked.marker is None or asked.marker.evaluate(environment | {"extra": extra}):
                        waiting.append((name, asked))


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_lock_pins_all_that_is_needed_and_nothing_else(environment):
    pinned, found = pins(environment), set()
    for asker, requirement in needed(environment):
        name = canonicalize_name(requirement.name)
        found.add(name)
        assert name in pinned, f"{asker} needs {requirement}"
        assert requirement.specifier.contains(pinned[name], prereleases=True), f"{asker} needs {requirement}"
    here = {canonicalize_name(package.name) for package in metadata.distributions()}
    assert not (pinned.keys() & here) - found, "nobody needs these"


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_pinned_versions_support_every_python(environment):
    for name, version in pins(environment).items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            package = metadata.distribution(name)
            if package.version.split("+")[0] == version:
                pythons = SpecifierSet(package.metadata.get("Requires-Python", ""))
                assert environment["python_full_version"] in pythons, f"{name}=={version} needs Python {pythons}"


def test_lock_holds_exact_public_versions():
    for environment in ENVIRONMENTS.values():
        for name, version in pins(environment).items():
            assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{name}=={version}"


def test_what_runs_is_what_the_lock_pins():
    locked = pins()
    for name in ("torch", "numpy", "scipy", "scikit-learn", "scikit-image", "matplotlib", "jupyter-book", "papermill"):
        assert metadata.version(name).split("+")[0] == locked[name]


def test_every_import_of_the_package_is_a_dependency():
    declared = {project_name(r) for r in PYPROJECT["project"]["dependencies"]}
    modules = {"sklearn": "scikit-learn", "skimage": "scikit-image", "pywt": "pywavelets"}
    optional = {
        "yaml",
        "ensurepip",
        "distributed",
        "myst_nb",
        "IPython",
        "h5py",
        "pyarrow",
    }  # of extras, or a reader's own
    for path in (ROOT / "vaept").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - optional - {"vaept"}:
            assert modules.get(name, name) in declared, f"{path.name} imports {name}"


def test_no_function_is_longer_than_sixty_lines():
    for path in (ROOT / "vaept").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name}"


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert vaept.__version__ == PYPROJECT["project"]["version"] == citation["version"]
    assert f"## {vaept.__version__} " in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_wheel_holds_the_library_with_its_types_and_nothing_else(tmp_path):
    for name in ("vaept", "pyproject.toml", "README.md", "LICENSE"):  # a build leaves files where it is made
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    made = run(sys.executable, "-c", build, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    with zipfile.ZipFile(tmp_path / made.stdout.splitlines()[-1]) as wheel:
        names = set(wheel.namelist())
    library = {name for name in names if not name.startswith(f"vaept-{vaept.__version__}.dist-info/")}
    assert {"vaept/py.typed", "vaept/companion/profiles.toml", "vaept/companion/figures/vaept.mplstyle"} <= library
    assert {Path(name).parts[0] for name in library} == {"vaept"}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "vaept").rglob("*.py")}
    assert {name for name in library if name.endswith(".py")} == sources


def test_contributing_names_places_that_exist():
    rows = re.findall(r"^\| .* \| `(\S+)` \| `(\w+)` \|$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 14
    for path, name in rows:
        text = (ROOT / path).read_text("utf-8")
        assert re.search(rf"^(def |class |\[)?{name}\b", text, re.MULTILINE) or f" {name}, " in text, (path, name)


def test_the_example_of_the_readme_runs(capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert code.count("range(5)") == code.count("epochs=50") == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of fields of few images
        exec(code.replace("range(5)", "range(3)").replace("epochs=50", "epochs=1, progress=False"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and all(re.fullmatch(r"−?\d\.\d\d \[−?\d\.\d\d, −?\d\.\d\d\]", line) for line in printed)


def test_citation_has_what_its_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["message"] and citation["title"] and citation["authors"]
    assert isinstance(citation["date-released"], date)
    assert any("1907.05267" in json.dumps(reference) for reference in citation["references"])


def test_workflow_and_gate_call_the_commands_of_the_readme():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))
    jobs = [workflow["jobs"][name] for name in ("test", "publish")]
    steps = [step.get("run") for job in jobs for step in job["steps"] if "run" in step]
    gate = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    readme = (ROOT / "README.md").read_text("utf-8")
    *steps, push = steps
    assert steps == ["make test", "make test-slow", "make test-paths", "make book", "make book PROFILE=mnist PDF=1"]
    assert "_build/mnist/launch/" in push and push.endswith(f"HEAD:{downloads.BRANCH}\n")
    assert {"make test", "make test-slow", "make test-paths", "make book PROFILE=quick"} <= set(gate)
    assert all(command in readme for command in steps)


def test_workflow_tests_every_environment_of_the_lock_and_keeps_one_book():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))
    job = workflow["jobs"]["test"]
    strategy, systems = job["strategy"], {"ubuntu-latest": "linux", "macos-latest": "darwin"}
    matrix = strategy["matrix"]
    assert strategy["fail-fast"] is False and matrix.keys() == {"os", "python"}
    tested = {f"{systems[system]} {python}" for system in matrix["os"] for python in matrix["python"]}
    assert tested == ENVIRONMENTS.keys()
    assert job["runs-on"] == "${{ matrix.os }}"
    setup = next(step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["python-version"] == "${{ matrix.python }}"
    everywhere = [step.get("run") or step["uses"].split("@")[0] for step in job["steps"] if "if" not in step]
    assert everywhere == ["actions/checkout", "actions/setup-python", "make test", "make test-slow"]
    assert {step["if"] for step in job["steps"] if "if" in step} == {"env.ONCE == 'true'"}
    assert job["env"]["ONCE"] == "${{ matrix.os == 'ubuntu-latest' && matrix.python == '3.11' }}"


def test_only_the_check_of_links_runs_on_a_schedule_and_nothing_waits_for_it():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))
    assert workflow[True]["schedule"]  # YAML 1.1 reads the key "on" as true
    jobs = workflow["jobs"]
    assert jobs["test"]["if"] == "github.event_name != 'schedule'" and jobs["publish"]["needs"] == "test"
    assert "schedule" in jobs["links"]["if"] and not [job for job in jobs.values() if "links" in job.get("needs", ())]
    steps = [step["run"] for step in jobs["links"]["steps"] if "run" in step]
    assert steps[:2] == ["make book PROFILE=quick", "make links PROFILE=quick"]
    shown = run("make", "-C", str(ROOT), "-n", "-o", ".venv/.installed", "links", "PROFILE=quick").stdout
    assert "--builder linkcheck" in shown and "_build/quick/source" in shown
    where = re.search(r"cat (\S+)/_build/html/output\.txt", steps[2])[1]
    assert f"--path-output {where} " in shown


def test_make_help_lists_the_targets():
    shown = run("make", "-C", str(ROOT), "help")
    targets = ("book ", "test ", "test-paths ", "clean ")
    assert shown.returncode == 0 and all(target in shown.stdout for target in targets)
    assert re.search(r"^book {8}train, measure", shown.stdout, re.MULTILINE) and "##" not in shown.stdout


def test_makefile_is_for_the_make_and_the_tools_of_macos():
    """Which are GNU make 3.81, from before these words, and a sed to which a tab is the letter t."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert not re.findall(r"\.ONESHELL|\.RECIPEPREFIX|\$\(file |!=|::=|\bsed\b|\bgrep -P|\bnproc\b", makefile)


def test_make_test_runs_style_tests_and_notebooks():
    shown = run("make", "-C", str(ROOT), "-n", "-o", ".venv/.installed", "test").stdout
    assert "ruff check" in shown and "bin/mypy\n" in shown and "--nbval-lax notebooks" in shown
    rest = run("make", "-C", str(ROOT), "-n", "-o", ".venv/.installed", "test-slow").stdout
    assert f'-m pytest {PARALLEL} -m "not slow"\n' in shown and f"-m pytest {PARALLEL} -m slow\n" in rest


def test_make_test_paths_runs_what_computes_on_another_code_path():
    shown = run("make", "-C", str(ROOT), "-n", "-o", ".venv/.installed", "test-paths").stdout
    assert f'tools/older.py -m pytest {PARALLEL} -m "not slow" tests/spectrum' in shown and "ruff" not in shown
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"companion", "__pycache__"}
    assert {word for word in shown.split() if word.startswith("tests/")} >= {f"tests/{room}" for room in rooms}


def installer(code, *, folder, **kwargs):
    """Run tools/install.py as a script after some code that changes what it sees of the machine."""
    script = ROOT / "tools" / "install.py"
    code = f"import runpy, shutil, sys; sys.argv = ['install.py', {str(folder)!r}]; {code}; "
    return run(sys.executable, "-c", code + f"runpy.run_path({str(script)!r}, run_name='__main__')", **kwargs)


def one_sentence(result):
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 1 and len(lines) == 1 and lines[0].startswith("Error: "), result.stderr
    return lines[0]


def test_python_that_is_too_old(tmp_path):
    result = installer("sys.version_info = (3, 8, 10); sys.version = '3.8.10 (old)'", folder=tmp_path / "venv")
    message = one_sentence(result)
    assert "needs Python 3.11 or newer" in message and "3.8.10" in message and "PYTHON=" in message
    assert not (tmp_path / "venv").exists()


def test_disk_that_is_too_full_at_the_start(tmp_path):
    code = "import collections; shutil.disk_usage = lambda p: collections.namedtuple('u', 'total used free')(9, 9, 5e8)"
    assert "0.5 GB free" in one_sentence(installer(code, folder=tmp_path / "venv"))


@pytest.mark.parametrize(
    ("pip_says", "message"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying after connection broken by NewConnectionError(...)", "download failed; check the network"),
        ("ERROR: No matching distribution found for torch==2.13.0", "was not found for this Python"),
        ("something odd happened", "installing failed: something odd happened"),
    ],
)
def test_pip_that_fails_ends_in_one_sentence(tmp_path, pip_says, message):
    fake = tmp_path / "venv" / "bin"
    fake.mkdir(parents=True)
    (fake / "pip").touch()
    (fake / "python").write_text(f"#!/bin/sh\ncat <<'END'\n{pip_says}\nEND\nexit 1\n")
    (fake / "python").chmod(0o755)
    result = installer("pass", folder=tmp_path / "venv")
    assert message in one_sentence(result) and "install.log" in result.stderr
    assert not (tmp_path / "venv" / ".installed").exists()


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in one_sentence(installer("pass", folder=tmp_path / "file" / "venv"))
