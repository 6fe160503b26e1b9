"""Computes a printed formula from its text alone, exactly: what a reader with paper would do."""

from __future__ import annotations

import re
from fractions import Fraction

_TOKEN = re.compile(r"\s*(?:(?P<word>[^\W\d]+)|(?P<number>\d[\d,]*(?:\.\d+)?)|(?P<sign>[()+−×÷%,])|(?P<symbol>\S))")


def computed(text: str) -> Fraction:
    """Return what a formula comes to, from left to right: × and ÷ first, a percentage of all before it.

    Words and currency signs are remarks, but for `rounded up`, `rounded down` and `not below 0`, which are done.
    Raises AssertionError where something is left over.
    """
    reader = _Reader(_tokens(text))
    found = reader.sum()
    assert not reader.left, f"{reader.left} is left of {text!r}"
    return found


def _tokens(text: str) -> list[str]:
    text = re.sub(r"\([^()\d]*\)", "", text)  # brackets without a number are a remark
    text = text.replace(", rounded up", " ⌈ ").replace(", rounded down", " ⌊ ").replace(", not below 0", " ⊔ ")
    found = []
    for match in _TOKEN.finditer(text):
        if match["number"]:
            found.append(match["number"].replace(",", ""))
        elif match["sign"]:
            found.append(match["sign"])
        elif match["symbol"] and match["symbol"] in "⌈⌊⊔":
            found.append(match["symbol"])
    return found


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens

    def take(self, *wanted: str) -> str:
        return self.left.pop(0) if self.left and self.left[0] in wanted else ""

    def sum(self) -> Fraction:
        found = self.product()[0]
        while sign := self.take("+", "−"):
            value, is_percentage = self.product()
            if is_percentage:
                value *= found
            found += value if sign == "+" else -value
        return found

    def product(self) -> tuple[Fraction, bool]:
        if self.take("−"):
            value, is_percentage = self.product()
            return -value, is_percentage
        found = self.one()
        while sign := self.take("×", "÷"):
            found = found * self.one() if sign == "×" else found / self.one()
        if self.take("%"):
            return found / 100, True
        return found, False

    def one(self) -> Fraction:
        if self.take("("):
            found = self.sum()
            if self.take("⌈"):
                found = Fraction(-(-found.numerator // found.denominator))
            elif self.take("⌊"):
                found = Fraction(found.numerator // found.denominator)
            elif self.take("⊔"):
                found = max(found, Fraction(0))
            assert self.take(")"), self.left
            return found
        return Fraction(self.left.pop(0))
