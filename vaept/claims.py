"""The claims of the paper's abstract and the ledger that results fill.

A claim is settled by `vaept.checks`. The verdict is "reproduced" if every check holds, "partly" if some do, "not
reproduced" if none does, and "not yet run" if nothing was measured.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vaept import checks
from vaept.degeneracy import Estimate


@dataclass(frozen=True)
class Claim:
    """A statement of the abstract and how it is tested.

    Attributes
    ----------
    id, statement, measured : str
        "C1" …, the statement in our words, and what is measured against what.
    check : callable, or None
        From `Records` to a list of `Check`; None: not yet tested.
    """

    id: str
    statement: str
    measured: str
    check: Callable | None = None


@dataclass(frozen=True)
class Entry:
    """A claim with its checks; see the module for `verdict`."""

    claim: Claim
    checks: tuple

    @property
    def verdict(self):
        """One of "reproduced", "partly", "not reproduced", "not yet run"."""
        if not self.checks:
            return "not yet run"
        held = [check.holds for check in self.checks]
        return "reproduced" if all(held) else "partly" if any(held) else "not reproduced"


def ledger(records):
    """Fill the ledger.

    Parameters
    ----------
    records : vaept.records.Records

    Returns
    -------
    list of Entry
        One for each claim, in order.
    """
    return [Entry(claim, tuple(claim.check(records)) if claim.check else ()) for claim in CLAIMS]


@dataclass(frozen=True)
class Change:
    """A check of a fresh run beside the published one.

    Attributes
    ----------
    claim : str
        Its id.
    quantity : str
    fresh, published : Estimate, or None
        None where only the other has the check.
    moved : bool
        Whether the fresh mean lies outside the published interval (without one: differs by more than 1 %), or only
        one has the check.
    """

    claim: str
    quantity: str
    fresh: Estimate | None
    published: Estimate | None
    moved: bool


def changes(fresh, published):
    """Compare two ledgers check by check.

    Checks belong together if claim and place are the same, because their words may hold numbers.

    Parameters
    ----------
    fresh, published : list of Entry

    Returns
    -------
    list of Change
    """
    found = []
    for new, old in zip(fresh, published, strict=True):
        for one, other in itertools.zip_longest(new.checks, old.checks):
            either = one or other
            moved = one is None or other is None or _moved(one.value, other.value)
            found.append(Change(new.claim.id, either.quantity, one and one.value, other and other.value, moved))
    return found


def _moved(fresh, published):
    if np.isnan(fresh.mean) or np.isnan(published.mean):
        return np.isnan(fresh.mean) != np.isnan(published.mean)
    if np.isnan(published.low):
        return abs(fresh.mean - published.mean) > 0.01 * abs(published.mean)
    rounding = 1e-9 * max(1.0, abs(published.mean))
    return not published.low - rounding <= fresh.mean <= published.high + rounding


def as_markdown(entries):
    """The ledger as a page of the book, in MyST Markdown."""
    lines = []
    for entry in entries:
        lines += [
            f"## {entry.claim.id}: {entry.verdict}",
            "",
            f"*{entry.claim.statement}*",
            "",
            entry.claim.measured,
            "",
        ]
        if entry.checks:
            lines += ["| measured | value | threshold | holds | control |", "|---|---|---|---|---|"]
            for check in entry.checks:
                holds = "yes" if check.holds else "no"
                cells = (check.quantity, shown(check.value), check.threshold, holds, check.control)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            lines.append("")
    return "\n".join(lines)


def shown(value):
    """An `Estimate` in words: three digits with its interval, or "none" where nothing could be measured."""
    return "none" if value is None or np.isnan(value.mean) else f"{value:.3g}"


def as_text(entries):
    """The ledger for a terminal."""
    lines = []
    for entry in entries:
        lines.append(f"{entry.claim.id}  {entry.verdict}: {entry.claim.statement}")
        for check in entry.checks:
            mark = "holds" if check.holds else "fails"
            lines.append(f"    {mark}  {check.quantity}: {shown(check.value)} (threshold {check.threshold})")
            lines.append(f"           control: {check.control}")
    return "\n".join(lines)


CLAIMS = (
    Claim(
        "C1",
        "Converged models can differ significantly: the latent space is degenerate.",
        "Correlation of equal-numbered coordinates between seeds of one architecture with equal ELBO.",
        checks.degenerate,
    ),
    Claim(
        "C2",
        "A relation between physics and machine learning explains it.",
        "The prior as an oscillator bounds the KL divergence; its symmetry, all rotations, is what sets seeds apart.",
        checks.symmetric,
    ),
    Claim(
        "C3",
        "The embedding, as a generative distribution, maps to functions and an energy spectrum.",
        "Levels of the aggregate posterior: the same for all seeds, although the coordinates differ.",
        checks.spectral,
    ),
    Claim(
        "C4",
        "Optimising a perturbed Hamiltonian corrects the degeneracy.",
        "Coordinate agreement and −ELBO of members trained in a field that is gone at the end; how long it lasts; the "
        "order of its effect in λ.",
        checks.corrected,
    ),
    Claim(
        "C5",
        "The potential is related to the unobserved topology of the data.",
        "Fields from the neighbour graph of the images against a linear field, everything else equal.",
        checks.topological,
    ),
    Claim(
        "C6",
        "Spectra help to interpret the latent space and the generative process.",
        "Metastable states of the slow eigenfunctions against the classes, which training never saw; the energy of a "
        "data point against how unusual it is.",
        checks.interpreted,
    ),
    Claim(
        "C7",
        "The energy landscapes serve for modelling and dynamics.",
        "Relaxation of Langevin walkers against the levels; lowest paths between minima against straight lines.",
        checks.dynamic,
    ),
    Claim(
        "C8",
        "The models are used for denoising, clustering and generation.",
        "Whether each use works, and whether the correction brings or costs anything at the same budget.",
        checks.used,
    ),
)
