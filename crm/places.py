"""Where a company is and how it is called there: country, postcode and telephone as they are compared. Pure."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import phonenumbers
from babel import Locale
from babel.core import get_global

_NOT_WORD = re.compile(r"[\W_]+")
_LANGUAGES = ("pt", "nl", "it", "es", "fr", "de", "en")
# What people write and no list of names holds.
_ALSO = {
    "england": "GB",
    "scotland": "GB",
    "wales": "GB",
    "northern ireland": "GB",
    "great britain": "GB",
    "united states of america": "US",
    "america": "US",
    "holland": "NL",
    "the netherlands": "NL",
    "czech republic": "CZ",
    "republic of ireland": "IE",
    "turkey": "TR",
    "korea": "KR",
    "russian federation": "RU",
    "viet nam": "VN",
    "hong kong": "HK",
    "macau": "MO",
    "brasil": "BR",
    "uae": "AE",
}


def country_code(text: str) -> str:
    """Return a country's two letters, from its code or its name in a common language; empty when it is not known."""
    plain = _plain(text)
    return _countries().get(plain) or _countries().get(plain.replace(" ", ""), "")


def postcode_key(text: str) -> str:
    """Return a postcode as it is compared; of the American ones the first five digits."""
    kept = _NOT_WORD.sub("", text).lower()
    return kept[:5] if len(kept) == 9 and kept.isdigit() else kept


def phone_key(text: str, country: str) -> str:
    """Return a telephone number as digits after its country's code; empty when that cannot be told or it is none."""
    try:
        found = phonenumbers.parse(text, country_code(country) or None)
    except phonenumbers.NumberParseException:
        return ""
    digits = str(found.national_number)
    if not phonenumbers.is_possible_number(found) or len(set(digits)) == 1:
        return ""
    return f"{found.country_code}{digits}"


@cache
def _countries() -> dict[str, str]:
    codes = [str(code) for code in Locale.parse("en").territories if len(str(code)) == 2 and str(code).isalpha()]
    found = {_plain(code): code for code in codes}
    for alias, stands_for in get_global("territory_aliases").items():
        if alias.isalpha() and len(stands_for) == 1 and stands_for[0] in codes:
            found.setdefault(_plain(alias), stands_for[0])
    for language in _LANGUAGES:
        names = Locale.parse(language).territories
        found |= {_plain(names[code]): code for code in codes if code in names}
    return found | _ALSO


def _plain(text: str) -> str:
    split = unicodedata.normalize("NFKD", text.casefold().replace(".", ""))
    letters = "".join(letter for letter in split if not unicodedata.combining(letter))
    return " ".join(word for word in _NOT_WORD.split(letters) if word)
