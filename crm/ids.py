"""Salesforce record ids: their shape is checked before one is believed, stored or joined into a URL."""

from __future__ import annotations

import re

SHAPE = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-5]{3})?")
_SUFFIXES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
ACCOUNT = "001"
OPPORTUNITY = "006"


class MalformedId(ValueError):
    """The text has not the shape of a Salesforce id of 15 or 18 characters, or its last three do not fit."""


def long_id(text: str, *, prefix: str = "") -> str:
    """Return an id in its form of 18 characters; raises MalformedId.

    The last three characters say which of the first 15 are capitals, so that ids differ where case is lost. `prefix`
    is the object's key prefix, such as 001 for Account.
    """
    text = text.strip()
    if not SHAPE.fullmatch(text) or not text.startswith(prefix):
        raise MalformedId(f"{text[:40]!r} is not a Salesforce id")
    found = text[:15] + _suffix(text[:15])
    if len(text) == 18 and text[15:].upper() != found[15:]:
        raise MalformedId(f"{text!r} is not a Salesforce id: its last three characters do not fit")
    return found


def _suffix(short: str) -> str:
    chunks = (short[at : at + 5] for at in (0, 5, 10))
    return "".join(_SUFFIXES[sum(1 << at for at, letter in enumerate(chunk) if letter.isupper())] for chunk in chunks)
