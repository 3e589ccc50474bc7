"""The companion: the study behind the book, its claims and figures, the book itself, and the commands."""

__all__ = ["given_classes", "open_study", "tell", "words"]


def __getattr__(name):
    # At their first use: what only reads the options of a command needs none of it.
    if name in __all__:
        from vaept.companion.study import open_study
        from vaept.companion.wording import given_classes, tell, words

        return {"given_classes": given_classes, "open_study": open_study, "tell": tell, "words": words}[name]
    raise AttributeError(f"module 'vaept.companion' has no attribute {name!r}")
