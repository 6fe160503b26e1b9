"""Company names: what is left of one without its legal form, and how far two agree. Pure."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from rapidfuzz import fuzz

from crm.legal_forms import without_form, without_glued
from crm.spelling import folded, in_latin, is_cut, is_slip, plain, sound, spelt_out

START = 5  # letters of the name by which an index finds what is spelt alike
_TURNED = 4  # words: of so many at most a name is looked for in another order too

_GROUP = frozenset("group groupe gruppe grupo gruppo holding holdings".split())
_GROUP_GLUED = re.compile("ホールディングス|グループ|控股|集团|集團|홀딩스|그룹")
_SMALL = frozenset("the and und et og och en y e i n".split())
_ALWAYS_SMALL = frozenset({"the"})  # the others where they join words, not where a name begins with them
# Articles, titles and the like, which some leave out: Hotel Restaurant de l'Écluse.
_ARTICLES = frozenset(
    "a an of de del della delle dello dei degli di da do dos das du des la le les lo il el los las l d der die das "
    "den dem zu zur zum am im van von dr prof mr mrs ms".split()
)
_SLASH = r"\s?/?\s?"
_OTHER_NAME = re.compile(
    rf"\b(?:d{_SLASH}b{_SLASH}a|f{_SLASH}k{_SLASH}a|a{_SLASH}k{_SLASH}a|n{_SLASH}k{_SLASH}a|t/a|doing business as"
    r"|(?:also |formerly |previously |now )?(?:known|trading|operating) as|formerly|previously)\b:?"
    r"|[(\[]\s?(?:now|ex)\b[ -]?",
    re.IGNORECASE,
)
# Who gets the mail for somebody else, or pays for somebody else: what follows is not the customer's own name.
_FOR_ANOTHER = re.compile(
    r"\b(?:c\s?/\s?o|on behalf of|o/b/o|o\.b\.o\.?|for (?:the )?account of|im auftrag(?: von| der| des)?"
    r"|pour le compte d|per conto d|por cuenta d)(?:\b|['’]|(?=\s))",
    re.IGNORECASE,
)
# To whom in the house it goes, and what a robot left behind.
_NOT_NAME = re.compile(
    r"[,(/-]\s?(?:attn|att|attention|fao|z\.?\s?h(?:d|dn))\b.*|(?<=\S)\s(?:attn|fao)\b[.:]?\s.*|;.*", re.IGNORECASE
)
_BRACKET = re.compile(r"[(\[]([^()\[\]]{1,40})[)\]]")
_BOOKKEEPING = frozenset(
    "account accounting accounts acct annual ap archived backup billing card cards closed copy customer cust do dup "
    "dupe duplicate inactive import imported invoice invoices legacy main merged migrated monthly new not old payable "
    "payables payment payments primary secondary stripe subscription test use yearly 2nd 3rd aud cad chf dkk "
    "eur euro euros finance gbp inr jpy nok nzd pln sek sgd usd".split()
)
_REGIONS = frozenset(
    "eu europe emea apac latam americas dach benelux nordics international intl global worldwide ae at au be br ca ch "
    "cn cz de dk es fi fr gb ie in it jp mx nl no nz pl pt se sg uae uk us usa za australia austria belgium brazil "
    "canada china denmark finland france germany india ireland italy japan mexico netherlands norway poland portugal "
    "singapore spain sweden switzerland".split()
)
# What people and programs write where a name is asked for and none is given.
_NOTHING = frozenset(
    "accounting accounts admin ap billing client company customer default demo dev finance guest info invoice "
    "invoices it n a na name nil no none null office payable payables payment payments team test testing undefined "
    "unknown user".split()
)
_DASHED = re.compile(r"\s[-|\u2013\u2014:]\s?([^-|\u2013\u2014:]{1,40})$")
_ADDRESS = re.compile(r"\s*(?:https?://(?:www\.)?|www\.)([\w-]+)\.\S+\s*", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]{0,80}>", re.IGNORECASE)
_UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")
_TRADE_MARK = str.maketrans(dict.fromkeys("™®©℠", " "))
_SITE = re.compile(r"\.(?:com|io|net|org|ai|app|dev|co)\b", re.IGNORECASE)
_ELIDED = re.compile(r"\b[ld]['’](?=\w)")
_NOT_WORD = re.compile(r"[\W_]+")
_LONGEST_NAME = 500


class Agreement(StrEnum):
    """How far two names agree; `open` says nothing for or against, `apart` that each has a word of its own."""

    SAME = "same"
    ORDER = "order"
    SPELLING = "spelling"
    GROUP = "group"
    INITIALS = "initials"
    PARTLY = "partly"
    OPEN = "open"
    APART = "apart"
    UNLIKE = "unlike"


@dataclass(frozen=True, slots=True)
class CompanyName:
    """One name taken apart: its words in their order, and what was taken off it.

    `words` are folded to one way of writing them; `core` lacks articles too; `spelt` has umlauts as two letters;
    `said` are all words but the legal form; `region` is the part of the world that a bracket names.
    """

    words: tuple[str, ...]
    form: str = ""
    is_group: bool = False
    region: str = ""
    core: tuple[str, ...] = ()
    spelt: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return " ".join(self.words)

    @property
    def joined(self) -> str:
        return "".join(self.words)

    @property
    def writings(self) -> set[str]:
        """The name in one word, with umlauts as one letter and as two."""
        return {self.joined, "".join(self.spelt)}

    @property
    def latin(self) -> tuple[str, ...]:
        return tuple(word for one in self.words if (word := in_latin(one)))

    @property
    def is_latin(self) -> bool:
        return self.joined.isascii()


def name_key(name: str) -> str:
    """Return a company's name without case, accents, punctuation and legal form; empty when nothing is left."""
    return taken_apart(name)[0].key[:255]


def name_keys(name: str) -> tuple[str, ...]:
    """Return the keys of all names that a text holds: "Acme Foods LLC dba Crunchy" holds two."""
    return tuple(dict.fromkeys(one.key[:255] for one in taken_apart(name) if one.words))


def searched_keys(name: str) -> tuple[str, ...]:
    """Return the keys under which an Account of that name may be kept: other orders, umlauts and letters too."""
    found: dict[str, None] = {}
    for one in taken_apart(name):
        for words in (one.words, one.spelt, _contracted(one.words), one.latin):
            if words:
                found[" ".join(words)[:255]] = None
        if 1 < len(one.words) <= _TURNED:
            found |= {" ".join((*one.words[at:], *one.words[:at]))[:255]: None for at in range(1, len(one.words))}
    return tuple(found)


def started_keys(name: str) -> tuple[str, ...]:
    """Return the keys that an Account's name may begin like: of each name that a text holds, in Latin letters too."""
    found = taken_apart(name)
    keys = [one.key for one in found] + [" ".join(one.latin) for one in found]
    return tuple(dict.fromkeys(key[:255] for key in keys if key))


def name_start(key: str) -> str:
    """Return the first letters of a name's key, spaces left out: what an index finds misspelt names by."""
    return key.replace(" ", "")[:START]


def legal_form(name: str) -> str:
    """Return the family of a name's legal form, such as `gmbh`; empty without one."""
    return next((one.form for one in taken_apart(name) if one.form), "")


def says_nothing(name: str) -> bool:
    """Say whether a customer's name is none: empty, or words such as Billing, n/a or Test customer."""
    return all(word in _NOTHING for word in _NOT_WORD.split(plain(name[:_LONGEST_NAME].casefold())) if word)


def is_for_another(name: str) -> bool:
    """Say whether a name names two parties, one of whom pays or gets the mail for the other."""
    return bool(_FOR_ANOTHER.search(name[:_LONGEST_NAME]))


def agreement(one: str, other: str) -> Agreement:
    """Say how far two names agree, whichever comes first; of texts with several names the best pair counts."""
    return min((_agreement(*pair) for pair in _pairs(one, other)), key=list(Agreement).index, default=Agreement.OPEN)


def is_readable(one: str, other: str) -> bool:
    """Say whether two names can be compared: neither is empty, and both are written in the same kind of script."""
    return any(mine.is_latin == theirs.is_latin for mine, theirs in _pairs(one, other))


def is_named_by(name: str, domain: str) -> bool:
    """Say whether a domain's own part is, or holds, the name: Acme Labs and acme-labs.io."""
    label = domain_label(domain)
    return any(
        len(joined) >= 4 and (joined in label or (len(label) >= 4 and label in joined))
        for one in taken_apart(name)
        for joined in one.writings | {"".join(one.latin)}
    )


def is_called_as(name: str, domain: str) -> bool:
    """Say whether a domain's own part is the whole name: Ironbark Fencing Pty Ltd and ironbarkfencing.com.au."""
    label = domain_label(domain)
    return len(label) >= 3 and any(
        label in one.writings | {"".join(one.core), "".join(one.said), "".join(one.latin)} for one in taken_apart(name)
    )


def is_slip_by_domain(one: str, other: str, domain: str) -> bool:
    """Say whether a domain is spelt as one of two names where they differ, so that the other has a slip of the pen.

    tessellateglass.com settles Tessalate and Tessellate; autohaus.de does not settle Autohaus Hamburg and Homburg.
    """
    label = domain_label(domain)
    return any(
        _agreement(mine, theirs) is Agreement.SPELLING and _settles(label, "".join(mine.latin), "".join(theirs.latin))
        for mine, theirs in _pairs(one, other)
    )


def is_short_by_domain(one: str, other: str, domain: str) -> bool:
    """Say whether a domain begins with the initials under which one of two names goes: BCS and bcs-bergland.at."""
    label = domain_label(domain)
    return any(
        short and label.startswith(short)
        for mine, theirs in _pairs(one, other)
        for short in (_initials(mine, theirs), _initials(theirs, mine))
    )


@lru_cache(maxsize=20_000)
def domain_label(domain: str) -> str:
    """Return what of a domain its owner chose, in plain letters and digits: acmelabs of acme-labs.io."""
    label = domain.partition(".")[0]
    if label.startswith("xn--"):
        try:
            label = label.encode().decode("idna")
        except UnicodeError:
            return ""
    return _NOT_WORD.sub("", plain(label.casefold()))


@lru_cache(maxsize=20_000)
def taken_apart(name: str) -> tuple[CompanyName, ...]:
    """Return the names that a text holds, the first one first; at least one, without words where nothing is left."""
    text = _UNSEEN.sub("", html.unescape(name[:_LONGEST_NAME]).translate(_TRADE_MARK))
    text = _TAG.sub(" ", unicodedata.normalize("NFKC", text))
    text = _ADDRESS.sub(r"\1" if _ADDRESS.fullmatch(text) else " ", text)
    text = _FOR_ANOTHER.split(text)[0] or text
    pieces = [piece for piece in _OTHER_NAME.split(_NOT_NAME.sub(" ", text) or text) if piece.strip(" ,;()[]-")]
    return tuple(_one_name(piece) for piece in pieces) or (CompanyName(()),)


def _one_name(text: str) -> CompanyName:
    text, region = _without_notes(text)
    bare = _GROUP_GLUED.sub(" group ", without_glued(_SITE.sub("", text.casefold()))).replace("co-op", "coop")
    said, form = _words(plain(bare))
    folds = tuple(folded(word) for word in said)
    elided = _folds(plain(_ELIDED.sub(" ", bare))) if _ELIDED.search(bare) else folds
    words = _named(folds)
    return CompanyName(
        words=words,
        form=form,
        is_group=any(word in _GROUP for word in said),
        region=region,
        core=tuple(word for word in _named(elided) if word not in _ARTICLES),
        spelt=words if bare.isascii() else _named(_folds(spelt_out(bare))),
        said=said,
    )


def _without_notes(text: str) -> tuple[str, str]:
    """Leave out what a bracket, or the end after a dash, says for bookkeeping; return the part of the world it names.

    (EUR), [old card], - USD.
    """
    region = ""
    for found in (*_BRACKET.finditer(text), *_DASHED.finditer(text)):
        words = [word for word in _NOT_WORD.split(plain(found.group(1).casefold())) if word]
        if words and all(word in _BOOKKEEPING or word in _REGIONS for word in words):
            text = text.replace(found.group(0), " ")
            region = region or " ".join(word for word in words if word in _REGIONS)
    return text, region


def _words(text: str) -> tuple[tuple[str, ...], str]:
    bare = re.sub("[.'’]", "", text).replace("&", " and ").replace("+", " and ")
    return without_form(tuple(word for word in _NOT_WORD.split(bare) if word))


def _folds(text: str) -> tuple[str, ...]:
    return tuple(folded(word) for word in _words(text)[0])


def _named(words: Sequence[str]) -> tuple[str, ...]:
    """Leave out what joins words, unless a name begins or ends with it (Capital I), and words such as Group."""
    ends = (0, len(words) - 1)
    return tuple(
        word
        for at, word in enumerate(words)
        if word not in _GROUP and (word not in _SMALL or (at in ends and word not in _ALWAYS_SMALL))
    )


def _contracted(words: Sequence[str]) -> tuple[str, ...]:
    """Return words as they are where two letters stand for an umlaut: muhlbauer of muehlbauer."""
    return tuple(re.sub("(?<![aeiou])([aou])e", r"\1", word) for word in words)


# ---- how far two agree ----


def _pairs(one: str, other: str) -> Iterable[tuple[CompanyName, CompanyName]]:
    for mine in taken_apart(one):
        for theirs in taken_apart(other):
            if mine.words and theirs.words:
                yield mine, theirs


def _agreement(one: CompanyName, other: CompanyName) -> Agreement:
    if one.is_latin != other.is_latin:
        return _across_scripts(one, other)
    if one.region and other.region and one.region != other.region:
        return Agreement.APART
    found = _of_words(one, other)
    if found in (Agreement.SAME, Agreement.ORDER, Agreement.SPELLING) and one.is_group != other.is_group:
        return Agreement.GROUP
    if found in (Agreement.SAME, Agreement.ORDER) and one.region != other.region:
        return Agreement.SPELLING
    return found


def _of_words(one: CompanyName, other: CompanyName) -> Agreement:
    if one.writings & other.writings:
        return Agreement.SAME
    if sorted(one.words) == sorted(other.words):
        return Agreement.ORDER
    if _is_spelling(one.core or one.words, other.core or other.words) or _is_spelling(
        _named(one.said), _named(other.said)
    ):
        return Agreement.SPELLING
    if _initials(one, other) or _initials(other, one):
        return Agreement.INITIALS
    shared = set(one.words) & set(other.words)
    if _is_part(one, other, shared):
        return Agreement.PARTLY
    if shared:
        return Agreement.APART
    return Agreement.OPEN if fuzz.ratio(one.joined, other.joined) >= 60 else Agreement.UNLIKE


def _across_scripts(one: CompanyName, other: CompanyName) -> Agreement:
    """Compare by sound names of which one is in Latin letters; words may be translated, so nothing speaks against."""
    if one.is_group != other.is_group:
        return Agreement.PARTLY  # two companies of one house share its domain and its door
    mine, theirs = ([sound(word) for word in name.latin] for name in (one, other))
    if "".join(mine) == "".join(theirs) or is_slip("".join(mine), "".join(theirs)):
        return Agreement.SPELLING
    is_part = any(len(word) >= 5 and (word == like or is_slip(word, like)) for word in mine for like in theirs)
    return Agreement.PARTLY if is_part else Agreement.OPEN


def _is_spelling(one: Sequence[str], other: Sequence[str]) -> bool:
    """The same words but for articles, their order, abbreviations and typing errors; numbers must be the same."""
    mine, theirs = _left_over(one, other), _left_over(other, one)
    if len(mine) != len(theirs):  # a space more or less; a word more or less is no slip: Capital I is not Capital
        return (
            bool(mine and theirs)
            and abs(len("".join(one)) - len("".join(other))) <= 1
            and is_slip("".join(one), "".join(other))
        )
    is_shared = len(mine) < len(one)
    return all(
        is_slip(word, like) or (is_shared and is_cut(word, like)) for word, like in zip(mine, theirs, strict=True)
    )


def _left_over(words: Sequence[str], others: Sequence[str]) -> list[str]:
    there = list(others)
    left = []
    for word in sorted(words):
        if word in there:
            there.remove(word)
        else:
            left.append(word)
    return left


def _is_part(one: CompanyName, other: CompanyName, shared: set[str]) -> bool:
    """All words of one are among those of the other, and they are more than a syllable."""
    fewer = min((one.words, other.words), key=len)
    return set(fewer) == shared and len("".join(fewer)) >= 4


def _initials(short: CompanyName, long: CompanyName) -> str:
    """Return the initials that stand for the long name: BCS, or LPHD in LPHD Elstertal; empty where none do."""
    if not short.words or not 3 <= len(short.words[0]) <= 8:
        return ""
    first, rest = short.words[0], short.words[1:]
    if rest and (set(rest) - set(long.words) or len("".join(rest)) < 4):
        return ""
    for words in (long.words, long.said):
        initials = "".join(word[0] for word in words)
        if initials == first if not rest else initials.startswith(first) and rest[0] in words[len(first) :]:
            return first
    return ""


def _settles(label: str, one: str, other: str) -> bool:
    start = _shared(one, other)
    end = _shared(one[start:][::-1], other[start:][::-1])
    return any(_spans(label, text, start, len(text) - end) for text in (one, other))


def _shared(one: str, other: str) -> int:
    """Return how many letters two texts begin with that are the same."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(one), len(other)))


def _spans(label: str, text: str, start: int, end: int) -> bool:
    """Say whether a domain holds a name, or is a part of it that covers the place where two names differ."""
    if len(text) >= 5 and text in label:
        return True
    at = text.find(label) if len(label) >= 5 else -1
    return 0 <= at < max(start, 1) and at + len(label) >= min(max(end, start + 1), len(text))
