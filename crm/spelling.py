"""How one word may be written: plain letters, other scripts, numbers, abbreviations and typing errors. Pure."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from anyascii import anyascii
from rapidfuzz import fuzz

_PLAIN = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ß": "ss"})
# As these letters are written where a keyboard lacks them: Müller is Mueller.
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe", "ß": "ss"})

_NUMBERS = {
    word: str(number)
    for words in (
        "one two three four five six seven eight nine ten eleven twelve",
        "eins zwei drei vier funf sechs sieben acht neun zehn",
        "un deux trois quatre cinq six sept huit",
        "uno dos tres cuatro cinco seis siete ocho nueve diez",
    )
    for number, word in enumerate(words.split(), start=1)
    if word not in {"un", "uno"}  # articles too
} | {"first": "1st", "second": "2nd", "third": "3rd"}
# Each word under the shortest way in which it is commonly written.
_SHORT = {
    word: short
    for short, words in {
        "assn": "association assoc",
        "bros": "brothers",
        "center": "centre ctr cntr",
        "color": "colour",
        "coop": "cooperative",
        "dept": "department",
        "dr": "doctor",
        "fdn": "foundation",
        "ft": "fort",
        "gebr": "gebruder gebrueder",
        "govt": "government",
        "grey": "gray",
        "harbor": "harbour",
        "hnos": "hermanos",
        "inst": "institute",
        "intl": "international",
        "lab": "laboratory",
        "labs": "laboratories",
        "mfg": "manufacturing",
        "mgmt": "management",
        "mt": "mount",
        "natl": "national",
        "no": "number nr",
        "services": "svcs svc service",
        "st": "saint sankt street",
        "ste": "sainte",
        "str": "strasse",
        "tech": "technology technologies",
        "theater": "theatre",
        "univ": "university",
        "vet": "veterinary",
    }.items()
    for word in words.split()
}
_DIGIT = re.compile(r"\d")
_FOLDED: Final = _NUMBERS | _SHORT
# What sounds alike when a name goes from one script to another, whoever writes it.
_SOUNDS = (
    ("oy", "u"), ("ou", "u"), ("ph", "f"), ("kh", "h"), ("ck", "k"), ("ks", "x"), ("ei", "i"), ("oi", "i"),
    ("y", "i"), ("j", "i"), ("w", "v"), ("q", "k"), ("'", ""),
)  # fmt: skip


def plain(text: str) -> str:
    """Return text of small letters without accents, and with one letter's several forms as one: muller of müller."""
    if text.isascii():
        return text
    split = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    return "".join(letter for letter in split if not unicodedata.combining(letter))


def spelt_out(text: str) -> str:
    """Return text of small letters with umlauts and their like as two letters: mueller of müller."""
    return plain(unicodedata.normalize("NFC", text).translate(_SPELT_OUT))


def folded(word: str) -> str:
    """Return a word as all ways of writing it are compared: 7 of seven, bros of brothers."""
    return _FOLDED.get(word, word)


@lru_cache(maxsize=20_000)
def in_latin(word: str) -> str:
    """Return a plain word in Latin letters, as it is read aloud or nearly so; Japanese ones read as Chinese."""
    return word if word.isascii() else "".join(anyascii(one) for one in word if one.isalnum()).lower()


def sound(word: str) -> str:
    """Return a Latin word with what sounds alike made equal, to compare names across scripts."""
    for written, heard in _SOUNDS:
        word = word.replace(written, heard)
    return "".join(letter for at, letter in enumerate(word) if at == 0 or letter != word[at - 1])


def is_slip(word: str, like: str) -> bool:
    """One or two letters amiss in a long word: Harbor and Harbour, not Grid and Grip, nor North and South."""
    if min(len(word), len(like)) < 5 or word[0] != like[0] or _DIGIT.search(word) or _DIGIT.search(like):
        return False
    return fuzz.ratio(word, like) >= 84


def is_cut(word: str, like: str) -> bool:
    """Say whether one word is the beginning of the other, as abbreviations are: Chem and Chemistry."""
    short, long = sorted((word, like), key=len)
    return 4 <= len(short) <= 5 and len(long) >= len(short) + 4 and long.startswith(short)
