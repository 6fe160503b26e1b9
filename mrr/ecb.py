"""Reads the European Central Bank's reference rates: the table that ships with a library, or the bank's own, online."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final

import requests
from currency_converter import CURRENCY_FILE, ECB_URL

from mrr.engine.rates import PIVOT, Origin, Quote

TIMEOUT_SECONDS: Final = (5, 30)
NO_RATE: Final = ("", "N/A")


class Unreachable(Exception):
    """The bank's table could not be had; the message says why."""


def shipped(*, since: date) -> Iterator[Quote]:
    """Yield the rates of the shipped table from a day on. It ends when the library was made: see its last day."""
    return read(Path(CURRENCY_FILE).read_bytes(), since=since)


def online(*, since: date, url: str = ECB_URL) -> Iterator[Quote]:
    """Yield the rates of the bank's table of today. Raises Unreachable."""
    try:
        answer = requests.get(url, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise Unreachable(f"{url} cannot be read: {error}") from error
    return read(answer.content, since=since)


def read(content: bytes, *, since: date) -> Iterator[Quote]:
    """Yield the rates of the bank's zipped CSV: a row a day, a column a currency, each as text, exact as published.

    Raises Unreachable when it is no such file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            text = packed.read(packed.namelist()[0]).decode()
        rows = csv.reader(io.StringIO(text))
        currencies = [name.strip().lower() for name in next(rows)[1:]]
    except (zipfile.BadZipFile, UnicodeDecodeError, IndexError, StopIteration) as error:
        raise Unreachable("What came is not the bank's zipped table of rates.") from error
    for row in rows:
        if row and (day := date.fromisoformat(row[0].strip())) >= since:
            for currency, rate in zip(currencies, row[1:], strict=True):
                if currency and rate.strip() not in NO_RATE:
                    yield Quote(day, PIVOT, currency, rate.strip(), Origin.ECB)
