"""Execute the notebooks with the quick profile and store their outputs in place, free of timings and machine names.

The hash of the code that made them is stored too; a test compares it with that of the present code."""

import sys
from pathlib import Path

import nbformat
import papermill

from vaept.companion.book import code_hash


def main():
    for path in sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.ipynb")):
        print(path.name, flush=True)
        notebook = papermill.execute_notebook(
            str(path), None, kernel_name="python3", progress_bar=False, cwd=str(path.parent)
        )
        clean(notebook)
        notebook.metadata["vaept"] = {"code": code_hash(path)}
        nbformat.write(notebook, path)


def clean(notebook):
    """Remove what differs from run to run and from machine to machine."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        for key in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]


if __name__ == "__main__":
    sys.exit(main())
