"""How numbers and tables are set, in Markdown: decimals, intervals, minus signs, dashes."""

import re

import numpy as np

from vaept.vae.agreement import Estimate, mean_over_members


def shown(value, spec=".3g"):
    """A number or an `Estimate` in words, with its interval where it has one; "none" if nothing could be measured."""
    if value is None or np.isnan(value.mean if isinstance(value, Estimate) else value):
        return "none"
    if isinstance(value, Estimate) and (np.isnan(value.low) or value.low == value.high):
        value = value.mean
    return f"{value:{spec}}".replace("-", "−")


def beside(value, limit):
    """A number or an `Estimate` in words, with a third decimal where two would not tell it, or an end, from a limit."""
    told = shown(value, ".2f")
    return shown(value, ".3f") if f"{limit:.2f}" in told else told


def escaped(text):
    """Text in which Markdown finds no markup."""
    return re.sub(r"([\\`*_\[\]<>$|~{}])", r"\\\1", text)


def mean_and_spread(values):
    """Mean and standard deviation of members in words."""
    return f"{values.mean():.2f} ± {values.std(ddof=1) if len(values) > 1 else 0:.2f}"


def with_minus_signs(text):
    """Text with minus signs before its numbers."""
    return re.sub(r"-(?=\d)", "−", text)


class Text(str):
    """Text in Markdown, which a notebook renders."""

    def _repr_markdown_(self):
        return str(self)


def table(header, rows, *, instead="", below=""):
    """A table in Markdown, from a sequence of str and sequences of values; or what is said instead, if anything is.

    What is said below it is a paragraph. Minus signs are set as such, and a dash stands for what could not be measured.
    """
    if instead:
        return Text(instead)
    texts = [[shown(each, ".2f") if isinstance(each, Estimate) else f"{each}" for each in row] for row in rows]
    texts = [["–" if text == "none" else text.replace("|", "\\|") for text in row] for row in (header, *texts)]
    lines = ["| " + " | ".join(row) + " |" for row in texts]
    lines = [with_minus_signs(line) for line in lines]
    return Text("\n".join([lines[0], "|" + "---|" * len(header), *lines[1:], *(["", below] if below else [])]))


def cell(values, spec=".2f"):
    """Numbers of members, shape (members,), for a table: their mean and its interval, or a dash if they are None."""
    return "–" if values is None else shown(mean_over_members(values), spec)
