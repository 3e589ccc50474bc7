"""A Sphinx extension for the pages in `book/reference`, which are made of docstrings: these are nearly plain text."""

import re


def setup(app):
    """Called by Sphinx, which has loaded autodoc and napoleon."""
    app.connect("autodoc-process-docstring", escape, priority=1)  # before napoleon makes marks of its own
    return {"parallel_read_safe": True}


def escape(app, what, name, obj, options, lines):
    """Escape what reStructuredText would take for marks, as in |ψ|² or *sides, but not in backticks and examples."""
    text, heading, example = "\n".join(lines).partition("\nExamples\n")
    text = re.sub(r"`[^`]*`|[*|]", lambda found: found[0] if found[0][0] == "`" else "\\" + found[0], text)
    lines[:] = (text + heading + example).split("\n")
