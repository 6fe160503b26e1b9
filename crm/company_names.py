"""Company names: what is left of one without its legal form, and how far two agree. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from rapidfuzz import fuzz

START = 5  # letters of the name by which an index finds what is spelt alike

# Legal forms as they read once dots, spaces and accents are gone; one line is one form under all its spellings.
_FAMILIES = """
inc incorporated corp corporation
co company
llc lc limitedliabilitycompany
llp lp lllp limitedpartnership
pllc pc
ltd limited ltdco coltd colimited
plc publiclimitedcompany
ptyltd pty ptylimited proprietarylimited
pteltd pte
pvtltd privatelimited pvtlimited pltd
sdnbhd bhd
gmbh mbh gesmbh ggmbh
gmbhcokg gmbhandcokg gmbhundcokg gmbhcokgaa
ug ughaftungsbeschrankt ughaftungsbeschraenkt
ag aktiengesellschaft
kg ohg gbr ek eku
kgaa
se
sa societeanonyme
sas sasu
sarl sarlau eurl
snc sci scop
spa
srl srls sro spolsro
bv bvba nv vof beslotenvennootschap
ab publ abpubl aktiebolag
as asa
aps anpartsselskab
oy oyj
sl slu slne
slp
ltda lda eireli
sadecv sabdecv sapidecv srldecv sderldecv
spzoo spzoospk spolkazoo spzook
kft zrt nyrt bt
doo dd ood eood
uab sia ou
ooo oao zao pao ao tov
kk gk
sprl scrl srlbe
as sanvetic ticas ticltdsti ltdsti
"""
_FORMS = {form: family.split()[0] for family in _FAMILIES.strip().splitlines() for form in family.split()}
_IN_FRONT = frozenset("ab oy ooo oao zao pao tov uab sia spolkazoo".split())
_GLUED = re.compile("株式会社|有限会社|合同会社|\\(株\\)|\\(有\\)|股份有限公司|有限责任公司|有限公司|주식회사|\\(주\\)")
_GROUP = frozenset("group groupe gruppe grupo gruppo holding holdings".split())
_SMALL = frozenset("the and und et og och".split())
_SLASH = r"\s?/?\s?"
_OTHER_NAME = re.compile(
    rf"\b(?:d{_SLASH}b{_SLASH}a|f{_SLASH}k{_SLASH}a|a{_SLASH}k{_SLASH}a|t/a"
    r"|doing business as|trading as|formerly|previously)\b:?",
    re.IGNORECASE,
)
_NOTE = re.compile(r"[(\[](?:do not use|duplicate|dupe?|old|merged|inactive|test)[)\]]", re.IGNORECASE)
_SITE = re.compile(r"\.(?:com|io|net|org|ai|app|dev|co)\b", re.IGNORECASE)
_NOT_WORD = re.compile(r"[\W_]+")
_PLAIN = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
_LONGEST_FORM = 6  # words: "gmbh und co kg auf aktien"
_LONGEST_NAME = 500


class Agreement(StrEnum):
    """How far two names agree; `open` says nothing for or against, `apart` that each has a word of its own."""

    SAME = "same"
    SPELLING = "spelling"
    GROUP = "group"
    PARTLY = "partly"
    OPEN = "open"
    APART = "apart"
    UNLIKE = "unlike"


@dataclass(frozen=True, slots=True)
class CompanyName:
    """One name taken apart: its words in their order, its legal form's family, and whether it says group or holding."""

    words: tuple[str, ...]
    form: str = ""
    is_group: bool = False

    @property
    def key(self) -> str:
        return " ".join(self.words)

    @property
    def joined(self) -> str:
        return "".join(self.words)


def name_key(name: str) -> str:
    """Return a company's name without case, accents, punctuation and legal form; empty when nothing is left."""
    return taken_apart(name)[0].key[:255]


def name_keys(name: str) -> tuple[str, ...]:
    """Return the keys of all names that a text holds: "Acme Foods LLC dba Crunchy" holds two."""
    return tuple(dict.fromkeys(one.key[:255] for one in taken_apart(name) if one.words))


def name_start(key: str) -> str:
    """Return the first letters of a name's key, spaces left out: what an index finds misspelt names by."""
    return key.replace(" ", "")[:START]


def legal_form(name: str) -> str:
    """Return the family of a name's legal form, such as `gmbh`; empty without one."""
    return next((one.form for one in taken_apart(name) if one.form), "")


def agreement(one: str, other: str) -> Agreement:
    """Say how far two names agree, whichever comes first; of texts with several names the best pair counts."""
    pairs = [
        _agreement(mine, theirs)
        for mine in taken_apart(one)
        for theirs in taken_apart(other)
        if mine.words and theirs.words
    ]
    return min(pairs, key=list(Agreement).index, default=Agreement.OPEN)


def is_named_by(name: str, domain: str) -> bool:
    """Say whether a domain's own part is, or holds, the name: Acme Labs and acme-labs.io."""
    label = _NOT_WORD.sub("", domain.partition(".")[0])
    return any(
        len(one.joined) >= 4 and (one.joined in label or (len(label) >= 4 and label in one.joined))
        for one in taken_apart(name)
    )


@lru_cache(maxsize=20_000)
def taken_apart(name: str) -> tuple[CompanyName, ...]:
    """Return the names that a text holds, the first one first; at least one, without words where nothing is left."""
    text = _NOTE.sub(" ", unicodedata.normalize("NFKC", name[:_LONGEST_NAME]))
    pieces = [piece for piece in _OTHER_NAME.split(text) if piece.strip(" ,;()-")]
    return tuple(_one_name(piece) for piece in pieces) or (CompanyName(()),)


def _one_name(text: str) -> CompanyName:
    bare = _SITE.sub("", _GLUED.sub(" ", text.casefold()))
    words = tuple(
        _NOT_WORD.split(_plain(bare.replace(".", "").replace("'", "").replace("’", "").replace("&", " and ")))
    )
    words = tuple(word for word in words if word)
    kept, form = _without_form(words)
    named = tuple(word for word in kept if word not in _SMALL and word not in _GROUP)
    return CompanyName(named, form, any(word in _GROUP for word in kept))


def _plain(text: str) -> str:
    split = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    return "".join(letter for letter in split if not unicodedata.combining(letter))


def _without_form(words: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Take legal forms off the end, again and again, else one off the front; returns what is left and the form."""
    form = ""
    while (length := _form_at_end(words)) > 0:
        form = form or _FORMS["".join(words[-length:])]
        words = words[:-length]
    if not form and words and words[0] in _IN_FRONT:
        return words[1:], _FORMS[words[0]]
    return words, form


def _form_at_end(words: Sequence[str]) -> int:
    """Return how many words at the end are a legal form, of the longest that fits."""
    return next((n for n in range(min(_LONGEST_FORM, len(words)), 0, -1) if "".join(words[-n:]) in _FORMS), 0)


# ---- how far two agree ----


def _agreement(one: CompanyName, other: CompanyName) -> Agreement:
    if one.joined == other.joined:
        return Agreement.SAME if one.is_group == other.is_group else Agreement.GROUP
    if _is_spelling(one.words, other.words):
        return Agreement.SPELLING if one.is_group == other.is_group else Agreement.GROUP
    shared = set(one.words) & set(other.words)
    if _is_part(one, other, shared) or _is_initials(one, other) or _is_initials(other, one):
        return Agreement.PARTLY
    if shared:
        return Agreement.APART
    return Agreement.OPEN if fuzz.ratio(one.joined, other.joined) >= 60 else Agreement.UNLIKE


def _is_spelling(one: Sequence[str], other: Sequence[str]) -> bool:
    """The same words in another order, or words that differ as typing errors do; numbers must be the same."""
    mine, theirs = _left_over(one, other), _left_over(other, one)
    if len(mine) != len(theirs):  # a space more or less; a word more or less is no slip
        return abs(len("".join(one)) - len("".join(other))) <= 1 and _is_slip("".join(one), "".join(other))
    return all(_is_slip(word, like) for word, like in zip(mine, theirs, strict=True))


def _left_over(words: Sequence[str], others: Sequence[str]) -> list[str]:
    there = list(others)
    left = []
    for word in sorted(words):
        if word in there:
            there.remove(word)
        else:
            left.append(word)
    return left


def _is_slip(word: str, like: str) -> bool:
    """One or two letters amiss in a long word: Harbor and Harbour, not Grid and Grip, nor North and South."""
    if any(letter.isdigit() for letter in word + like):
        return False
    return min(len(word), len(like)) >= 5 and word[0] == like[0] and fuzz.ratio(word, like) >= 84


def _is_part(one: CompanyName, other: CompanyName, shared: set[str]) -> bool:
    """All words of one are among those of the other, and they are more than a syllable."""
    fewer = min((one.words, other.words), key=len)
    return set(fewer) == shared and len("".join(fewer)) >= 4


def _is_initials(short: CompanyName, long: CompanyName) -> bool:
    return 3 <= len(long.words) == len(short.joined) and short.joined == "".join(word[0] for word in long.words)
