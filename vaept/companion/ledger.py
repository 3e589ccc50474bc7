"""The ledger: claims with their checks, each a number against a threshold, in which records are judged.

The verdict of a claim is made by its tests alone: how many hold, a sentence where all do or none, and else those that
do not; checks of the kinds "theorem" and "sanity" stand beside them. What could not be measured does not hold, and is
named by itself. A check is "undecided", and does not hold, if runs of one study on several machines
(`vaept.companion.machines`) differ in whether they meet its threshold.

A number of a fresh run is compared with the published one by this rule. It is the *same* if it differs by no more than
1e-6 of it. Else it is *within the spread between machines* if it lies in the interval that
`vaept.companion.machines.spread` derives from runs under several code paths, and *moved* if not. Where that spread was
not measured, the published interval over members stands in for it, although it does not hold the difference between
machines; without that interval either, the number moved if it differs by more than 1 %. Where only one of the two could
be measured it moved.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from vaept.companion.checks import ONE_SIDED
from vaept.companion.claims import CLAIMS, COMMITTED, Claim
from vaept.companion.markdown import shown
from vaept.companion.places import CHECKOUT
from vaept.errors import InputError
from vaept.files import read_json, write_json
from vaept.uses.measure import MEASURES
from vaept.vae.agreement import Estimate

SAME, WITHIN, MEMBERS, MOVED = (
    "same",
    "within the spread between machines",
    "within the interval over members",
    "moved",
)
KINDS = (
    "There are three kinds of check. A *theorem* holds by mathematics and checks the code; a *sanity* check must hold "
    "for the tests to mean anything; a *test* could have failed."
)
CAVEAT = '"Fidelity to the paper"'  # a page of the book
UNDECIDED = (
    "A check is undecided, and counts as not holding, if runs of the same study on several machines differ in whether "
    "they meet its threshold: the last bit of a number is rounded differently there, and training amplifies that. In "
    "brackets: in how many of all runs it held."
)
VERDICTS = "verdicts.json"
ALWAYS = ("training", "fields", "evaluation")  # parts that all records have
BESIDE = {"theorem": "Theorems that do", "sanity": "Sanity checks that do"}
MARKS = {"holds": "✓", "fails": "✗", "undecided": "undecided"}
NEEDED = {"prices": "the price list", "labs": "two labs", "interchange": "the exchange of parts"}


@dataclass(frozen=True)
class Entry:
    """A claim with its checks, a sentence for each thing that these data do not allow, and what was not yet run.

    `members` is how many an arm has at least; 0 if that is not known.
    """

    claim: Claim
    checks: tuple
    left_out: tuple = ()
    not_run: tuple = ()
    members: int = 0

    @property
    def tests(self):
        """The checks that make the verdict."""
        return [check for check in self.checks if check.kind == "test"]

    @property
    def verdict(self):
        """What the claim comes to: how many tests hold, and a sentence or those that do not."""
        tests, failed = self.tests, [check for check in self.tests if not check.holds]
        if not tests:
            return "Not measured for these data." if self.left_out else "Not yet run."
        none = [check for check in failed if not check.measured]
        missed, words = [check for check in failed if check.measured], [f"{_share(tests)}."]
        if not failed:
            words.append(self.claim.holds)
        elif missed:
            words.append(self.claim.fails if len(failed) == len(tests) else f"Not: {_named(missed)}.")
        if none:
            words.append(f"Not measurable: {_named(none)}.")
        return " ".join(words)

    @property
    def unsound(self):
        """Which checks of the other kinds do not hold, in a sentence for each kind; "" if all do."""
        failed = {kind: [each for each in self.checks if each.kind == kind and not each.holds] for kind in BESIDE}
        return " ".join(f"{BESIDE[kind]} not hold: {_named(own)}." for kind, own in failed.items() if own)

    @property
    def count(self):
        """How many tests hold, in words, and how many are undecided, where any is."""
        undecided = sum(check.verdict == "undecided" for check in self.tests)
        return _share(self.tests) + (f", {undecided} undecided" if undecided else "")

    @property
    def outcomes(self):
        """For each key of a check a dict from d to "yes", "no", "contrary" or, if it has no value, "none".

        It is "contrary" where no part of the interval meets the threshold.
        """
        found = {}
        for check in self.checks:
            ends = (check.value.low, check.value.mean, check.value.high)
            missed = not any(check.threshold.test(Estimate(end, end, end)) for end in ends)
            contrary = check.verdict == "fails" and missed and not np.isnan(ends).any()
            answered = "yes" if check.holds else "contrary" if contrary else "no"
            found.setdefault(check.key, {})[check.d] = answered if check.measured else "none"
        return found

    def ids(self):
        """Pairs (id, `Check`); an id names a check for good, whatever was measured."""
        return [(f"{self.claim.id} {check.key}, d = {check.d}", check) for check in self.checks]


def _share(tests):
    none = sum(not check.measured for check in tests)
    words = f"{sum(check.holds for check in tests)} of {len(tests)} tests hold"
    return words + (f", {none} could not be measured" if none else "")


def _named(checks):
    """Quantities of checks, each once with the latent dimensions in which it is among them."""
    where = {}
    for check in checks:
        where.setdefault(check.quantity, []).append(f"{check.d}")
    return "; ".join(f"{quantity} (d = {', '.join(dims)})" for quantity, dims in where.items())


def ledger(records, machines=None, claims=None):
    """Fill the ledger.

    Parameters
    ----------
    records : vaept.companion.records.Records
    machines : vaept.machines.Machines, optional
        Runs of the same study under other code paths: checks in which they differ are undecided.
    claims : sequence of str, optional
        Ids of the claims that are judged; all if None.

    Returns
    -------
    list of Entry
        One for each claim, in order.

    Raises
    ------
    InputError
        If the records lack a number that a check needs.
    """
    entries, taken = [], {use for record in records.arms.values() for use in record.uses}
    members = min((len(own.minus_elbo) for own in (*records.arms.values(), *records.prices)), default=0)
    for claim in (each for each in CLAIMS if claims is None or each.id in claims):
        try:
            missing = [(what, reason) for what, reason in records.left_out.items() if what in claim.parts]
            words = tuple(f"Not measured for these data: {what}. {reason}" for what, reason in missing)
            lacking = [NEEDED[what] for what in claim.needs if not getattr(records, what)]
            lacking += [part for part in claim.parts if part in MEASURES and part not in (*taken, *records.left_out)]
            entry = Entry(claim, tuple(claim.of(records)), words, tuple(lacking), members)
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
        found.append(Change(id, either.words, one and one.value, other and other.value, verdict, spread))
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
    # A part that was not yet run when the records were made has no code, and the ledger says that it was not run.
    changed = [part for part in today if part in (*made_by, *ALWAYS) and made_by.get(part) != today[part]]
    if not changed:
        return ""
    vouched = [claim.id for claim in CLAIMS if set(changed) & set(claim.parts)]
    again = f"the run must be made again to vouch for {', '.join(vouched)}." if vouched else "no claim hangs on that."
    return f"made by an earlier version of: {', '.join(changed)}; {again}"


def rules(entries):
    """How the ledger is to be read, and how many of its tests would pass by chance: some sentences."""
    tests = [check for entry in entries for check in entry.tests]
    one_sided = sum(check.threshold.by_chance > 0 and check.measured for check in tests)
    unsound = ", ".join(entry.claim.id for entry in entries if entry.unsound)
    told = "All others hold here."
    if unsound:
        told = f"Not all of the others hold here: see {unsound}, whose tests are to be read with that in mind."
    return (
        f"{KINDS} Only tests make the verdict. {told} A threshold is met by a whole 95 % interval over members, where "
        "a number comes from members, or not at all. Thresholds and kinds were written down before these runs, in the "
        f"commit `{COMMITTED}`; what had been seen by then is on the page {CAVEAT}. Of {len(tests)} tests here "
        f"{one_sided} ask on which side of 0 an interval lies. Where there is nothing to find each of these would hold "
        f"by chance in {ONE_SIDED:.1%} of cases, {ONE_SIDED * one_sided:.1f} in all, if intervals were as wide as they "
        f"should be. {_narrow(min((entry.members for entry in entries), default=0), one_sided)}Of the other tests that "
        "share is not known, and their controls stand beside them."
    )


def _narrow(members, one_sided):
    """What so few members do to an interval of their mean, as a sentence with a blank after it; "" if it is not known.

    An interval from resampled members lies on one side of 0 at least where all of them do.
    """
    if not members:
        return ""
    words = f"Those of a mean over {members} members, the fewest here, are narrower"
    if 0.5**members <= ONE_SIDED:
        return f"{words}. "
    return (
        f"{words}: all members lie on that side, and with them the interval, by chance in 1 of {2**members} cases; "
        f"were all of these tests such means, {0.5**members * one_sided:.1f} would hold by chance. "
    )


def summary(verdicts):
    """The verdicts on all claims side by side, as a table in Markdown; which tests fail is left to the ledgers.

    Parameters
    ----------
    verdicts : dict from str to dict from str to str
        For the name of each profile the verdict of each claim, as from `verdicts_of`.
    """
    lines = ["| | statement | " + " | ".join(verdicts) + " |", "|---" * (2 + len(verdicts)) + "|"]
    for claim in CLAIMS:
        found = (re.split(" Not(?: measurable)?: ", own.get(claim.id, "Not yet run."))[0] for own in verdicts.values())
        cells = (claim.id, claim.statement, *found)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def verdicts_of(entries):
    """The verdict of each claim, as a dict from id to str."""
    return {entry.claim.id: entry.verdict for entry in entries}


def save_verdicts(entries, folder):
    """Write the verdict of each claim, and the `Entry.outcomes` of its checks, into a folder of published results."""
    outcomes = {entry.claim.id: entry.outcomes for entry in entries}
    write_json(folder / VERDICTS, "verdicts", {"verdicts": verdicts_of(entries), "outcomes": outcomes})


def published_verdicts(leave_out=None):
    """The verdicts of what the repository publishes, for `summary`; without those of one profile."""
    found = {name: verdicts["verdicts"] for name, verdicts in _published().items() if name != leave_out}
    return {f"published ({name})": verdicts for name, verdicts in found.items()}


def published_outcomes():
    """The `Entry.outcomes` of each claim of what the repository publishes, by the names of the profiles."""
    return {
        name: {
            claim: {key: {int(d): answer for d, answer in found.items()} for key, found in own.items()}
            for claim, own in verdicts["outcomes"].items()
        }
        for name, verdicts in _published().items()
    }


def _published():
    files = sorted((CHECKOUT / "results").glob(f"*/{VERDICTS}")) if CHECKOUT else []
    return {file.parent.name: read_json(file, "verdicts") for file in files}


def as_markdown(entries):
    """The ledger as a page of the book, in MyST Markdown: a row for each quantity, a column for each d."""
    lines = [rules(entries), ""]
    if _any_undecided(entries):
        lines += [UNDECIDED, ""]
    for entry in entries:
        lines += [
            f"## {entry.claim.id}: {entry.claim.statement}",
            "",
            f"**{entry.verdict}** {entry.unsound}".strip(),
            "",
            entry.claim.measured,
            "",
        ]
        if entry.checks:
            lines += [*_rows(entry), ""]
        for words in _missing(entry):
            lines += [words, ""]
    return "\n".join(lines)


def _rows(entry):
    """The checks of a claim as the lines of a table."""
    dims, checks = sorted({check.d for check in entry.checks}), {}
    for check in entry.checks:
        checks.setdefault(check.key, {})[check.d] = check
    header = ("quantity", *(f"d = {d}" for d in dims), "pass if", "control or reference", "kind")
    rows = [header, ("---",) * len(header)]
    for own in checks.values():
        first = next(iter(own.values()))
        unit = f" ({first.unit})" if first.unit else ""
        values = [f"{shown(own[d].value)} {answer(own[d])}" if d in own else "" for d in dims]
        controls = [f"d = {d}: {check.control}" for d, check in own.items() if check.control]
        control = first.control if len(own) == 1 else "; ".join(controls)
        rows.append((first.quantity + unit, *values, str(first.threshold), control, first.kind))
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def answer(check):
    """Whether a check holds, as a mark, and in how many of all runs where they differ."""
    runs = (check.met, *check.elsewhere)
    return MARKS[check.verdict] + (f" ({sum(runs)} of {len(runs)})" if check.verdict == "undecided" else "")


def as_text(entries):
    """The ledger for a terminal."""
    lines = []
    for entry in entries:
        lines += [f"{entry.claim.id}  {entry.claim.statement}", f"    {entry.verdict} {entry.unsound}".rstrip()]
        for check in entry.checks:
            lines.append(
                f"    {answer(check)}  {check.words}: {shown(check.value)}, pass if {check.threshold}, {check.kind}"
            )
            lines += [f"           control: {check.control}"] if check.control else []
        lines += [f"    {words}" for words in _missing(entry)]
    if _any_undecided(entries):
        lines.append(UNDECIDED)
    return "\n".join(lines)


def _missing(entry):
    """A sentence for each thing that a claim lacks."""
    return [
        *entry.left_out,
        *([f"Not yet run with this profile: {', '.join(entry.not_run)}."] if entry.not_run else []),
    ]


def _any_undecided(entries):
    return any(check.verdict == "undecided" for entry in entries for check in entry.checks)
