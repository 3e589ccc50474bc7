"""Thresholds that write their own words, and checks: one number each against a threshold, beside a control."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from vaept.vae.agreement import Estimate


@dataclass(frozen=True)
class Threshold:
    """What a number must be for a check to hold; two are joined by `&`.

    Attributes
    ----------
    words : str
    test : callable
        From an `Estimate` to bool; False where the mean is NaN.
    """

    words: str
    test: Callable

    def __and__(self, other):
        return Threshold(f"{self.words}, {other.words}", lambda value: self.test(value) and other.test(value))

    def __str__(self):
        return _signs(self.words)


def at_least(limit):
    """The mean is `limit` or more."""
    return Threshold(f"≥ {limit:g}", lambda value: value.mean >= limit)


def at_most(limit):
    """The mean is `limit` or less."""
    return Threshold(f"≤ {limit:g}", lambda value: value.mean <= limit)


def below(limit):
    """The mean is less than `limit`."""
    return Threshold(f"< {limit:g}", lambda value: value.mean < limit)


def within(distance, centre):
    """The mean is no farther from `centre` than `distance`."""
    return Threshold(f"within {distance:g} of {centre:g}", lambda value: abs(value.mean - centre) <= distance)


def interval_below(limit):
    """The whole interval is below `limit`."""
    return Threshold(f"interval below {limit:g}", lambda value: value.high < limit)


def provided(words, holds):
    """A condition on other numbers, which holds or not whatever the value is."""
    return Threshold(words, lambda value: bool(holds))


INTERVAL_ABOVE_0 = Threshold("> 0, whole interval", lambda value: value.low > 0)
INTERVAL_BELOW_0 = Threshold("< 0, whole interval", lambda value: value.high < 0)


@dataclass(frozen=True)
class Check:
    """One number against its threshold.

    Attributes
    ----------
    key : str
        Names the check among those of its claim, whatever was measured.
    quantity : str
        In words, with the latent dimension.
    value : Estimate
        Mean and 95 % interval over members.
    threshold : Threshold
    control : str
        What the control gave, in words. Its numbers are set with minus signs; what could not be measured is none.
    elsewhere : tuple of bool
        Whether runs on other machines meet it, as `vaept.companion.machines` has them.
    """

    key: str
    quantity: str
    value: Estimate
    threshold: Threshold
    control: str
    elsewhere: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "control", _signs(re.sub(r"\bnan\b", "none", self.control)))

    @property
    def met(self):
        """Whether these records meet the threshold."""
        return bool(self.threshold.test(self.value))

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


def _signs(words):
    """Words with minus signs before their numbers."""
    return re.sub(r"-(?=\d)", "−", words)
