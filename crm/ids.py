"""Salesforce record ids: their shape is checked before one is believed, stored or joined into a URL."""

from __future__ import annotations

import re

SHAPE = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-5]{3})?")
_SUFFIXES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
ACCOUNT = "001"
OPPORTUNITY = "006"


# What people and programs write where an id is asked for and there is none, without signs and spaces.
NOT_GIVEN = frozenset(
    ["", *"0 false na nan nil no none notset null pending tba tbc tbd test todo undefined unknown x xxx".split()]
)
_LINK = re.compile(r"https?://\S+", re.IGNORECASE)


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


def written_id(text: str, *, prefix: str) -> tuple[str, str]:
    """Return the id that a person wrote down, empty where it is none, and the text, empty where none is given.

    It may stand in quotes, or in the link to the record; words such as n/a or null say that nobody gave one.
    """
    text = text.strip().strip("\"'“”‘’").strip()
    if re.sub(r"[\W_]+", "", text).casefold() in NOT_GIVEN:
        return "", ""
    linked = {one for one in re.split(r"[/?&=#]", text) if one.startswith(prefix) and SHAPE.fullmatch(one)}
    try:
        return long_id(linked.pop() if _LINK.fullmatch(text) and len(linked) == 1 else text, prefix=prefix), text
    except MalformedId:
        return "", text


def _suffix(short: str) -> str:
    chunks = (short[at : at + 5] for at in (0, 5, 10))
    return "".join(_SUFFIXES[sum(1 << at for at, letter in enumerate(chunk) if letter.isupper())] for chunk in chunks)
