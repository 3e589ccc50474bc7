"""The companion: the study behind the book, its claims and figures, the book itself, and the commands."""

from vaept.companion.study import open_study
from vaept.companion.wording import given_classes, tell, words

__all__ = ["given_classes", "open_study", "tell", "words"]
