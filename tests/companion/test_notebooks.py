"""The stored notebooks: as a reader who opens them finds them."""

import ast
import builtins
import re
import symtable
from pathlib import Path

import nbformat
import pytest

from vaept.companion.book import code_hash

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
GLUE = "application/papermill.record/text/plain"


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    found = nbformat.read(request.param, 4)
    nbformat.validate(found)
    return found


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def shown(cell):
    return not tags(cell) & {"remove-input", "remove-cell"}


def described(notebook):
    """Captions and alternative texts of the figures."""
    options = [cell.metadata.get("mystnb", {}) for cell in code_cells(notebook)]
    texts = [(each.get("figure", {}).get("caption"), each.get("image", {}).get("alt")) for each in options]
    return [text for pair in texts for text in pair if text]


def glued(notebook):
    """Names and values of all numbers and words that a notebook hands to its prose."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return {o.metadata["scrapbook"]["name"]: o.data[GLUE] for o in outputs if GLUE in o.get("data", {})}


def test_there_are_chapters():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{n:02d}" for n in range(1, len(NOTEBOOKS) + 1)]


def test_cells_were_run_in_order_and_without_error(notebook):
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    kinds = {output.output_type for cell in code_cells(notebook) for output in cell.outputs}
    assert "error" not in kinds
    assert not [o for cell in code_cells(notebook) for o in cell.outputs if o.get("name") == "stderr"]


def test_cells_that_show_something_have_stored_outputs(notebook):
    shows = re.compile(r"^ *(figures\.|tables\.|choices\.|report\.table\(|print\(|tell\()", re.MULTILINE)
    empty = [cell.source for cell in code_cells(notebook) if shows.search(cell.source) and not cell.outputs]
    assert not empty
    assert sum(bool(cell.outputs) for cell in code_cells(notebook)) >= 5


def test_parameters_cell_names_the_quick_profile_and_is_not_in_the_book(notebook):
    (cell,) = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    assert 'profile = "quick"' in cell.source and "data = None" in cell.source and "remove-cell" in tags(cell)


def globals_of(source):
    """Names at the top of a source: those it defines or imports, and those it takes from before."""
    tables, defined, used = [symtable.symtable(source, "cell", "exec")], set(), set()
    while tables:
        table = tables.pop()
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if top and (symbol.is_assigned() or symbol.is_imported()):
                defined.add(symbol.get_name())
            elif symbol.is_referenced() and (top or symbol.is_global()):
                used.add(symbol.get_name())
        tables += table.get_children()
    return defined, used


def test_what_is_shown_runs_without_what_is_not(notebook):
    """Apart from the parameters, which the book writes where they are used."""
    known = {*dir(builtins), "profile", "data"}
    for cell in filter(shown, code_cells(notebook)):
        defined, used = globals_of(cell.source)
        known |= defined
        assert used <= known, cell.source


def test_readers_see_imports_of_public_names_alone(notebook):
    rooms = {
        "vaept",
        *(f"vaept.{room}" for room in ("spectrum", "perturbation", "landscape", "vae", "uses", "companion")),
    }
    for cell in filter(shown, code_cells(notebook)):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("vaept"):
                assert node.module in rooms and not any(alias.name.startswith("_") for alias in node.names)
        assert not re.search(r"glue|\btell\(|NBVAL", cell.source), cell.source


def test_figures_have_caption_name_and_alternative_text(notebook):
    names = []
    for cell in code_cells(notebook):
        if any({"image/png", "image/svg+xml"} & output.get("data", {}).keys() for output in cell.outputs):
            options = cell.metadata["mystnb"]
            assert len(options["figure"]["caption"]) > 60 and len(options["image"]["alt"]) > 40
            names.append(options["figure"]["name"])
    assert len(names) >= 3 and len(set(names)) == len(names)


def test_cells_are_short_and_define_little(notebook):
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        most, width = (12, 78) if shown(cell) else (9, 100)  # what a page shows without scrolling
        assert len(lines) <= most and max(map(len, lines)) <= width, cell.source
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert node.end_lineno - node.lineno < 8, node.name


def test_prose_takes_its_numbers_from_results(notebook):
    prose = "\n".join(markdown(notebook) + described(notebook))
    used = set(re.findall(r"\{glue:text\}`(\w+)", prose))
    assert used <= glued(notebook).keys()


def test_chapter_opens_with_a_question_and_ends_with_a_verdict(notebook):
    prose = markdown(notebook)
    assert prose[0].rstrip("*").endswith("?")
    assert re.search(r"^## What to take along\n\n(- .*\n){3}\n## The verdict$", "\n\n".join(prose), re.MULTILINE)


def test_exercises_are_numbered_by_chapter_and_have_hidden_solutions(notebook, request):
    text, chapter = markdown(notebook)[-1], int(request.node.callspec.id[:2])
    numbers = re.findall(r"\{admonition\} Exercise (\S+)", text)
    assert numbers == [f"{chapter}.{n}" for n in range(1, len(numbers) + 1)] and 3 <= len(numbers) <= 5
    assert text.startswith("## Exercises") and text.count("{dropdown} Solution") == len(numbers)


def test_code_in_solutions_runs_as_it_stands_or_after_what_is_shown(notebook, capsys):
    known = {name for cell in filter(shown, code_cells(notebook)) for name in globals_of(cell.source)[0]}
    blocks = re.findall(r"```python\n(.*?)```", markdown(notebook)[-1], re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        defined, used = globals_of(block)
        needed = used - defined - {*dir(builtins)}
        assert needed <= known and max(map(len, block.splitlines())) <= 78, block
        if not needed:
            exec(block, {})
            assert capsys.readouterr().out


def test_outputs_were_made_by_the_present_code():
    """Where this fails, `make notebooks` stores them anew."""
    old = [path.name for path in NOTEBOOKS if nbformat.read(path, 4).metadata.get("vaept") != {"code": code_hash(path)}]
    assert not old


def test_nothing_of_the_machine_is_stored(notebook):
    text = nbformat.writes(notebook)
    assert not re.search(r"/(home|root|tmp|Users)/|[A-Z]:\\\\", text)
    assert "papermill" not in notebook.metadata


def test_some_cells_are_compared_by_nbval():
    marked = ["nbval-check-output" in tags(cell) for path in NOTEBOOKS for cell in code_cells(nbformat.read(path, 4))]
    assert sum(marked) >= 6
