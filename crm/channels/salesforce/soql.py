"""Writes values into SOQL so that they stay values. Pure."""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def quoted(text: str) -> str:
    """Return a text literal, quotes included."""
    return f"'{text.translate(_ESCAPES)}'"


def quoted_list(texts: Iterable[str]) -> str:
    """Return a list of text literals as IN takes it."""
    return f"({', '.join(quoted(text) for text in texts)})"
