"""Thresholds that write their own words, and checks: one number each against a threshold, beside a control.

A threshold is met by the whole 95 % interval or not at all; where there is no interval, it is not met.
"""

import operator
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vaept.companion.markdown import with_minus_signs
from vaept.vae.agreement import Estimate

RELATIONS = {"≥": operator.ge, "≤": operator.le, ">": operator.gt, "<": operator.lt}
ONE_SIDED = 0.025  # of intervals that are all on one side of 0 by chance alone


@dataclass(frozen=True)
class Threshold:
    """What a number must be for a check to hold.

    Attributes
    ----------
    relation : {"≥", "≤", ">", "<", "within"}
        To `limit`; "within" means no farther from it than `distance`.
    limit, distance : float
    """

    relation: Literal["≥", "≤", ">", "<", "within"]
    limit: float
    distance: float = 0.0

    def test(self, value):
        """Whether a whole `Estimate` meets it; False where an end of the interval is NaN."""
        if self.relation == "within":
            return self.limit - self.distance <= value.low and value.high <= self.limit + self.distance
        nearest = value.low if self.relation in ("≥", ">") else value.high
        return RELATIONS[self.relation](nearest, self.limit)

    @property
    def by_chance(self):
        """How often it is met where there is nothing to find, if that is known, else 0."""
        return ONE_SIDED * (self.limit == 0 and self.relation != "within")

    def __str__(self):
        words = f"within {self.distance:g} of" if self.relation == "within" else self.relation
        return with_minus_signs(f"{words} {self.limit:g}")


def at_least(limit):
    """No part of the interval is below `limit`."""
    return Threshold("≥", limit)


def at_most(limit):
    """No part of the interval is above `limit`."""
    return Threshold("≤", limit)


def below(limit):
    """The whole interval is below `limit`."""
    return Threshold("<", limit)


def above(limit):
    """The whole interval is above `limit`."""
    return Threshold(">", limit)


def within(distance, centre):
    """No part of the interval is farther from `centre` than `distance`."""
    return Threshold("within", centre, distance)


@dataclass(frozen=True)
class Check:
    """One number against its threshold.

    Attributes
    ----------
    key : str
        Names the check among those of its claim, whatever was measured.
    quantity : str
        In at most six words.
    unit : str
        "" for a pure number.
    value : Estimate
        Mean and 95 % interval over members.
    threshold : Threshold
    control : str
        What the control or the reference gave, in words. Its numbers are set with minus signs; what could not be
        measured is none.
    kind : {"theorem", "sanity", "test"}
        What holds by mathematics, what must hold for tests to mean anything, and what could have failed. Only tests
        make the verdict of a claim.
    d : int or None
        The latent dimension.
    elsewhere : tuple of bool
        Whether runs on other machines meet it, as `vaept.companion.machines` has them.
    """

    key: str
    quantity: str
    unit: str
    value: Estimate
    threshold: Threshold
    control: str
    kind: str = "test"
    d: int | None = None
    elsewhere: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "control", with_minus_signs(re.sub(r"\bnan\b", "none", self.control)))

    @property
    def met(self):
        """Whether these records meet the threshold."""
        return bool(self.threshold.test(self.value))

    @property
    def measured(self):
        """Whether there is a number at all."""
        return not np.isnan(self.value.mean)

    @property
    def verdict(self):
        """One of "holds", "fails" and, where runs on several machines differ in that, "undecided"."""
        if any(other != self.met for other in self.elsewhere):
            return "undecided"
        return "holds" if self.met else "fails"

    @property
    def holds(self):
        """Whether the verdict is "holds"."""
        return self.verdict == "holds"

    @property
    def words(self):
        """The quantity with its latent dimension and its unit."""
        place = "" if self.d is None else f", d = {self.d}"
        return f"{self.quantity}{place}{f' ({self.unit})' if self.unit else ''}"
