"""The companion: the study behind the book, its claims and figures, the book itself, and the commands."""
