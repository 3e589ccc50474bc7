"""The figures of a book: a passport under each in its chapter, and all of them, small, on a page."""

import base64
import io
import itertools
import re

import matplotlib.image
from skimage.transform import resize

from vaept.companion.passports import Figure, first_sentence
from vaept.companion.store import provenance
from vaept.errors import InputError

FIGURE = re.compile(r"^```\{figure\} (\S+)\n:name: (\S+)\n:alt: ([^\n]+)\n\n(.*?)\n```\n", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
FOLDER = "images/gallery"  # beside the page
ACROSS = 420  # pixels; a card is narrower
KINDS = ("image/png", "image/svg+xml")


def stamp(notebook, path, *, made, catalogue, folder):
    """Put a passport under each figure of an executed notebook, and a small copy of the figure into a folder.

    Parameters
    ----------
    notebook : dict
        As it is read: with captions that are complete. It gets a cell after each that shows a figure.
    path : Path
        Where it was executed.
    made : vaept.companion.passports.Passports
    catalogue : vaept.companion.passports.Catalogue
    folder : Path

    Returns
    -------
    list of vaept.companion.passports.Figure

    Raises
    ------
    InputError
        If a figure is empty.
    """
    prose = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    place = {"page": f"notebooks/{path.stem}", "title": TITLE.search(prose)[1]}
    place |= {"source": f"notebooks/{path.name}", "code": provenance(path.parent)["request"]["source"]}
    figures, cells = [], []
    for cell in notebook["cells"]:
        cells.append(cell)
        options = cell["metadata"].get("mystnb", {})
        shown = [
            (output, kind) for output in cell.get("outputs", ()) for kind in KINDS if kind in output.get("data", {})
        ]
        if "figure" in options and shown:
            (output, kind), name = shown[0], options["figure"]["name"]
            dots = output["data"][kind] if kind == "image/png" else output["metadata"][kind]["preview"]
            made_by = "".join(output["data"]["text/plain"])
            words = {"caption": "".join(options["figure"]["caption"]), "alt": "".join(options["image"]["alt"])}
            figures.append(Figure(name, **words, **place, made_by=made_by, **catalogue.drawn_on(name, made_by)))
            small_copy(base64.b64decode("".join(dots)), folder / f"{name}.webp")
            text = made.as_html(figures[-1])
            cells.append({"cell_type": "markdown", "id": f"passport-{name}", "metadata": {}, "source": text})
    notebook["cells"] = cells
    return figures


def stamp_page(path, made_by, source, code, *, made, catalogue, folder):
    """The same for the first figure of a page in MyST Markdown, with the label, source and code of the figure."""
    text = path.read_text("utf-8")
    block = FIGURE.search(text)
    picture, name, alt, caption = block.groups()
    place = {"page": f"book/{path.stem}", "title": TITLE.search(text)[1], "source": source, "code": code}
    words = {"caption": " ".join(caption.split()), "alt": alt, "made_by": made_by}
    figure = Figure(name, **words, **place, **catalogue.drawn_on(name, made_by))
    small_copy((path.parent / picture).read_bytes(), folder / f"{name}.webp")
    path.write_text(f"{text[: block.end()]}\n{made.as_html(figure)}\n{text[block.end() :]}", "utf-8")
    return [figure]


def small_copy(content, path):
    """Write a small copy of the picture in a PNG file, given as bytes.

    Raises
    ------
    InputError
        If the picture has a single colour.
    """
    pixels = matplotlib.image.imread(io.BytesIO(content))
    if (pixels == pixels[0, 0]).all():
        raise InputError(f"The figure {path.stem} is empty: it has a single colour.")
    rows = round(len(pixels) * ACROSS / pixels.shape[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    small = resize(pixels, (rows, ACROSS), anti_aliasing=True)
    matplotlib.image.imsave(path, small, format="webp", pil_kwargs={"quality": 80})


def page(figures):
    """All figures, with small copies and first sentences of captions, as a page in MyST Markdown."""
    parts = ["# All figures\n\nEach leads to its place in the book, where the line under it says how it was made."]
    for title, own in itertools.groupby(figures, key=lambda figure: figure.title):
        parts.append(f"## {title}\n\n::::{{grid}} 1 2 2 3\n:gutter: 3\n")
        for figure in own:
            parts.append(f""":::{{grid-item-card}}
:img-top: {FOLDER}/{figure.name}.webp
:img-alt: {figure.alt}
:link: {figure.name}
:link-type: ref

{{numref}}`{figure.name}`: {first_sentence(figure.caption)}
:::
""")
        parts.append("::::")
    return "\n".join(parts) + "\n"
