"""Where things are: the package, the checkout that it runs from, and results. Imports nothing that takes long."""

import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "notebooks").is_dir() else None


def default_store():
    """Where results are kept: $VAEPT_STORE, else _build/runs in a checkout, else the user's cache folder."""
    if os.environ.get("VAEPT_STORE"):
        return Path(os.environ["VAEPT_STORE"])
    if CHECKOUT:
        return CHECKOUT / "_build" / "runs"
    import pooch  # takes a moment

    return Path(pooch.os_cache("vaept")) / "runs"
