"""The ledger: claims with their checks, each a number against a threshold, in which records are judged.

The verdict of a claim is "reproduced" if every check holds, "partly" if some do, "not reproduced" if none does, "not
measured" if the data do not allow it, and "not yet run" otherwise. A check is "undecided", and does not hold, if runs
of one study on several machines (`vaept.companion.machines`) differ in whether they meet its threshold.

A number of a fresh run is compared with the published one by this rule. It is the *same* if it differs by no more than
1e-6 of it. Else it is *within the spread between machines* if it lies in the interval that
`vaept.companion.machines.spread` derives from runs under several code paths, and *moved* if not. Where that spread was
not measured, the published interval over members stands in for it, although it does not hold the difference between
machines; without that interval either, the number moved if it differs by more than 1 %. Where only one of the two could
be measured it moved.
"""

from dataclasses import dataclass, replace

import numpy as np

from vaept.companion.claims import CLAIMS, Claim
from vaept.companion.wording import shown
from vaept.errors import InputError
from vaept.vae.agreement import Estimate

SAME, WITHIN, MEMBERS, MOVED = (
    "same",
    "within the spread between machines",
    "within the interval over members",
    "moved",
)
UNDECIDED = (
    "A check is undecided, and counts as not holding, if runs of the same study on several machines differ in whether "
    "they meet its threshold: the last bit of a number is rounded differently there, and training amplifies that. In "
    "brackets: in how many of all runs it held."
)


@dataclass(frozen=True)
class Entry:
    """A claim with its checks, and a sentence for each thing that these data do not allow; see the module."""

    claim: Claim
    checks: tuple
    left_out: tuple = ()

    @property
    def verdict(self):
        """One of "reproduced", "partly", "not reproduced", "not measured", "not yet run"."""
        if not self.checks:
            return "not measured" if self.left_out else "not yet run"
        held = [check.holds for check in self.checks]
        return "reproduced" if all(held) else "partly" if any(held) else "not reproduced"

    @property
    def count(self):
        """How many checks hold, in words, and how many are undecided, where any is."""
        verdicts = [check.verdict for check in self.checks]
        undecided = verdicts.count("undecided")
        words = f"{verdicts.count('holds')} of {len(verdicts)} checks hold"
        return words + (f", {undecided} undecided" if undecided else "")

    def ids(self):
        """Pairs (id, `Check`); an id names a check for good, whatever was measured."""
        return [(f"{self.claim.id} {check.key}", check) for check in self.checks]


def ledger(records, machines=None):
    """Fill the ledger.

    Parameters
    ----------
    records : vaept.companion.records.Records
    machines : vaept.machines.Machines, optional
        Runs of the same study under other code paths: checks in which they differ are undecided.

    Returns
    -------
    list of Entry
        One for each claim, in order.

    Raises
    ------
    InputError
        If the records lack a number that a check needs.
    """
    entries = []
    for claim in CLAIMS:
        try:
            missing = [(what, reason) for what, reason in records.left_out.items() if what in claim.parts]
            words = tuple(f"Not measured for these data: {what}. {reason}" for what, reason in missing)
            entry = Entry(claim, tuple(claim.of(records)), words)
        except KeyError as error:
            raise InputError(
                f"The records of the profile {records.profile} lack {error.args[0]!r}, which {claim.id} needs. Make "
                "them again."
            ) from error
        if machines is not None:
            filled = (replace(check, elsewhere=machines.met(id, str(check.threshold))) for id, check in entry.ids())
            entry = replace(entry, checks=tuple(filled))
        entries.append(entry)
    return entries


@dataclass(frozen=True)
class Change:
    """A check of a fresh run beside the published one.

    Attributes
    ----------
    id : str
        As of `Entry.ids`; begins with the claim's.
    quantity : str
    fresh, published : Estimate, or None
        None where only the other has the check.
    verdict : str
        One of `SAME`, `WITHIN`, `MEMBERS` and `MOVED`; see the module.
    spread : tuple of two float, or None
        The interval in which 99 % of runs on other machines are expected, where it is known.
    """

    id: str
    quantity: str
    fresh: Estimate | None
    published: Estimate | None
    verdict: str
    spread: tuple | None = None

    @property
    def moved(self):
        """Whether the verdict is `MOVED`."""
        return self.verdict == MOVED


def changes(fresh, published, machines=None):
    """Compare two ledgers check by check, by the rule of this module.

    Parameters
    ----------
    fresh, published : list of Entry
    machines : vaept.machines.Machines, optional
        Runs of the study that was published, under several code paths.

    Returns
    -------
    list of Change
        One for each check that either has: the fresh ones in order, then those that only the other has.
    """
    new, old = ({id: check for entry in entries for id, check in entry.ids()} for entries in (fresh, published))
    found = []
    for id in new | old:
        one, other = new.get(id), old.get(id)
        spread, verdict = None, MOVED
        if one and other:
            spread = machines and machines.spread(id, other.value.mean)
            verdict = _compared(one.value, other.value, spread)
        either = one or other
        found.append(Change(id, either.quantity, one and one.value, other and other.value, verdict, spread))
    return found


def _compared(fresh, published, spread):
    if np.isnan(fresh.mean) or np.isnan(published.mean):
        return SAME if np.isnan(fresh.mean) == np.isnan(published.mean) else MOVED
    if abs(fresh.mean - published.mean) <= 1e-6 * abs(published.mean):
        return SAME
    if spread:
        return WITHIN if spread[0] <= fresh.mean <= spread[1] else MOVED
    low, high = published.low, published.high
    if np.isnan(low):
        low, high = sorted((0.99 * published.mean, 1.01 * published.mean))
    rounding = 1e-9 * max(1.0, abs(published.mean))
    return MEMBERS if low - rounding <= fresh.mean <= high + rounding else MOVED


def outdated(records, today):
    """Which claims records no longer vouch for, because code that made them has changed.

    Parameters
    ----------
    records : vaept.companion.records.Records
        Its `provenance` has under "code" a hash for each part of a study.
    today : dict from str to str
        The hashes of the present code.

    Returns
    -------
    str
        A sentence, or "" if nothing has changed.
    """
    made_by = records.provenance.get("code")
    if made_by is None:
        return "made before code was recorded; the run must be made again to know that this code gives these numbers."
    changed = [part for part in today if made_by.get(part) != today[part]]
    if not changed:
        return ""
    vouched = [claim.id for claim in CLAIMS if set(changed) & set(claim.parts)]
    again = f"the run must be made again to vouch for {', '.join(vouched)}." if vouched else "no claim hangs on that."
    return f"made by an earlier version of: {', '.join(changed)}; {again}"


def as_markdown(entries):
    """The ledger as a page of the book, in MyST Markdown."""
    lines = []
    if _any_undecided(entries):
        lines += [UNDECIDED, ""]
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
                holds = answer(check) + _held_in(check)
                cells = (check.quantity, shown(check.value), str(check.threshold), holds, check.control)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            lines.append("")
        for words in entry.left_out:
            lines += [words, ""]
    return "\n".join(lines)


def answer(check):
    """Whether a check holds, for a table: "yes", "no" or "undecided"."""
    return {"holds": "yes", "fails": "no"}.get(check.verdict, check.verdict)


def as_text(entries):
    """The ledger for a terminal."""
    lines = []
    for entry in entries:
        lines.append(f"{entry.claim.id}  {entry.verdict}: {entry.claim.statement}")
        for check in entry.checks:
            mark = check.verdict + _held_in(check)
            lines.append(f"    {mark}  {check.quantity}: {shown(check.value)} (threshold {check.threshold})")
            lines.append(f"           control: {check.control}")
        lines += [f"    {words}" for words in entry.left_out]
    if _any_undecided(entries):
        lines.append(UNDECIDED)
    return "\n".join(lines)


def _held_in(check):
    """In how many runs an undecided check held, in brackets."""
    runs = (check.met, *check.elsewhere)
    return f" ({sum(runs)} of {len(runs)})" if check.verdict == "undecided" else ""


def _any_undecided(entries):
    return any(check.verdict == "undecided" for entry in entries for check in entry.checks)
