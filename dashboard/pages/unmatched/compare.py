"""Two records side by side: what Stripe says, what Salesforce says, and which parts of it are the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

_WORD = re.compile(r"[\w&]+")
_DIGITS = re.compile(r"\d")
SHORTEST_PHONE = 7  # digits from the end: the rest is the country and how one dials


@dataclass(frozen=True)
class Part:
    """A piece of a text, and whether the other side has it too."""

    text: str
    is_equal: bool = False


@dataclass(frozen=True)
class PairLine:
    """One row of the comparison. `tone` is eq, ne, or nothing where one side is not known."""

    label: str
    ours: tuple[Part, ...]
    theirs: tuple[Part, ...]
    tone: str = ""


def words(label: str, ours: str, theirs: str) -> PairLine:
    """Compare word by word, without case: Kestrel Robotics is in Kestrel Robotics Inc."""
    left, right = _split(ours), _split(theirs)
    shared = {word.casefold() for word in left} & {word.casefold() for word in right}
    shared = {word for word in shared if _WORD.fullmatch(word)}
    tone = ("eq" if shared else "ne") if ours and theirs else ""
    return PairLine(label, _marked(left, shared), _marked(right, shared), tone)


def domains(label: str, ours: str, theirs: str) -> PairLine:
    """Compare host names: the same, or one a part of the other."""
    shorter, longer = sorted((ours, theirs), key=len)
    is_equal = bool(shorter) and (longer == shorter or longer.endswith(f".{shorter}"))
    tone = ("eq" if is_equal else "ne") if shorter else ""
    return PairLine(label, _ending(ours, shorter, is_equal=is_equal), _ending(theirs, shorter, is_equal=is_equal), tone)


def phones(label: str, ours: str, theirs: str) -> PairLine:
    """Compare the digits from the end, however they are written."""
    return _whole(label, ours, theirs, lambda text: "".join(_DIGITS.findall(text))[-SHORTEST_PHONE:])


def places(label: str, ours: str, theirs: str) -> PairLine:
    """Compare postcodes and the like, without case and spaces."""
    return _whole(label, ours, theirs, lambda text: text.replace(" ", "").casefold())


def told(label: str, ours: str = "", theirs: str = "", *, is_equal: bool = False) -> PairLine:
    """Set two texts side by side that are not compared here."""
    return PairLine(label, _parts(ours, is_equal=is_equal), _parts(theirs, is_equal=is_equal), "eq" if is_equal else "")


def host(website: str) -> str:
    """Return the host of a website as people know it: without scheme, www and path."""
    bare = re.sub(r"^[a-z]+://", "", website.strip().casefold()).removeprefix("www.")
    return bare.split("/")[0]


def _whole(label: str, ours: str, theirs: str, key: Callable[[str], str]) -> PairLine:
    if not ours or not theirs:
        return PairLine(label, _parts(ours), _parts(theirs))
    is_equal = key(ours) == key(theirs)
    return PairLine(
        label, _parts(ours, is_equal=is_equal), _parts(theirs, is_equal=is_equal), "eq" if is_equal else "ne"
    )


def _split(text: str) -> list[str]:
    """Cut a text into words and what stands between them; joined they are the text again."""
    return [piece for piece in re.split(r"([\w&]+)", text) if piece]


def _marked(pieces: list[str], shared: Collection[str]) -> tuple[Part, ...]:
    return tuple(Part(piece, piece.casefold() in shared) for piece in pieces)


def _ending(text: str, shared: str, *, is_equal: bool) -> tuple[Part, ...]:
    if not is_equal:
        return _parts(text)
    return (*_parts(text.removesuffix(shared)), Part(shared, True))


def _parts(text: str, *, is_equal: bool = False) -> tuple[Part, ...]:
    return (Part(text, is_equal),) if text else ()
