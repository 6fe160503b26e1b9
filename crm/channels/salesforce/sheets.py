"""Records as the CSV that Bulk API 2.0 takes. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BLANK = "#N/A"  # an empty cell would leave the field as it is


def csv_of(columns: Sequence[str], rows: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Return rows as the CSV of a job, its key in the first column: a fixed order, #N/A for a true blank, LF."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for key, fields in rows:
        writer.writerow([key, *(_cell(fields, name) for name in columns[1:])])
    return out.getvalue().encode()


def would_blank(fields: Mapping[str, Any]) -> bool:
    """Say whether a text among the values reads as a blank, so that the record cannot go by Bulk."""
    return any(isinstance(value, str) and value.strip().upper() == BLANK for value in fields.values())


def _cell(fields: Mapping[str, Any], name: str) -> str:
    """An absent field stays as it is; None and the empty text become blank; line ends are those of the job."""
    if name not in fields:
        return ""
    value = fields[name]
    if value is None or value == "":
        return BLANK
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).replace("\r\n", "\n").replace("\r", "\n")
