"""Writes the archive of a closed month while it is sent: no file and no list of entries is ever whole in memory."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.conf import settings
from django.template.loader import render_to_string

from billing import selectors as billing
from dashboard import charts, exports, formats
from dashboard.context import company_name
from dashboard.periods import plus_months
from mrr import departures
from mrr import selectors as mrr
from mrr.engine.money import exponent, shown
from mrr.selectors import evidence

FORMAT: Final = "mrr-ledger evidence/1"
HERE: Final = Path(__file__).parent
LINES_AT_ONCE: Final = 500
SENT_FROM: Final = 1 << 16
PARTS: Final = ("opening", "new", "expansion", "reactivation", "contraction", "churn", "adjustment", "closing")


@dataclass(frozen=True)
class FigureLine:
    """One signed figure as index.html shows it, and its exact micros, which verify.py compares."""

    label: str
    text: str
    code: str
    micros: int


@dataclass(frozen=True)
class FigureTable:
    """The signed figures of one source and currency."""

    source: str
    currency: str
    lines: tuple[FigureLine, ...]
    customers: int


def stream(closed: mrr.ClosedMonth, *, by: str, now: datetime) -> Iterator[bytes]:
    """Yield the archive of a close in force, piece by piece; `by` is who asked for it."""
    month = closed.month
    proof = evidence.close_proof(closed.number)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "company": company_name(),
        "month": f"{month:%Y-%m}",
        "time_zone": settings.REPORTING_TIME_ZONE,
        "made_at": evidence.moment(now),
        "made_by": by,
        "close": {"number": closed.number, "sha256": closed.digest, "entries": closed.entries},
        "seal": {"number": closed.seal_number, "sha256": closed.seal_digest},
        "head_now": {"number": proof.head[0], "sha256": proof.head[1]},
        "live_sources": sorted(source.slug for source in billing.sources() if source.livemode),
        "reporting": _reporting(closed),
        "decimals": _decimals(closed),
        "files": {},
    }
    yield from _zipped(_files(closed, proof, manifest, now=now), manifest, at=closed.closed_at)


def _files(
    closed: mrr.ClosedMonth, proof: evidence.Close, manifest: dict[str, Any], *, now: datetime
) -> Iterator[tuple[str, Iterable[str]]]:
    month = closed.month
    versions = [*evidence.policies_in(month), closed.policy_version]
    yield "index.html", [_page(closed, manifest, now=now)]
    yield "style.css", [(HERE / "style.css").read_text("utf-8")]
    yield "entries.csv", exports.csv_lines(evidence.ENTRY_COLUMNS, evidence.entry_rows(month))
    yield "events.csv", exports.csv_lines(evidence.EVENT_COLUMNS, evidence.event_rows(month))
    yield "closes.json", [_json({"actions": evidence.all_steps(), "seal": proof.seal})]
    yield "rates.json", [_json({"reporting": _reporting_currency(), "rates": evidence.frozen_rates(month)})]
    yield "policy.json", [_json(evidence.used_policies(versions))]
    yield "verify.py", [(HERE / "verify.py").read_text("utf-8")]


def _reporting_currency() -> str:
    return str(settings.REPORTING_CURRENCY)


# ---- the archive ----


class _Sink(io.RawIOBase):
    """Takes what the archive writes until it is sent. It cannot be sought in, so sizes follow each file's bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.held = bytearray()

    def write(self, data: Any) -> int:
        self.held += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self.held)
        self.held.clear()
        return taken


def _zipped(files: Iterable[tuple[str, Iterable[str]]], manifest: dict[str, Any], *, at: datetime) -> Iterator[bytes]:
    """Yield the archive; each file's hash goes into the manifest, which is the last one."""
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_DEFLATED) as archive:
        for name, lines in files:
            digest, size = hashlib.sha256(), 0
            with archive.open(_info(name, at), "w", force_zip64=True) as file:
                for chunk in _chunks(lines):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    if len(sink.held) >= SENT_FROM:
                        yield sink.take()
            manifest["files"][name] = {"sha256": digest.hexdigest(), "bytes": size}
        with archive.open(_info("manifest.json", at), "w") as file:
            file.write(_json(manifest).encode())
    yield sink.take()


def _info(name: str, at: datetime) -> ZipInfo:
    info = ZipInfo(name, (at.year, at.month, at.day, at.hour, at.minute, at.second))
    info.compress_type = ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _chunks(lines: Iterable[str]) -> Iterator[bytes]:
    rows = iter(lines)
    while some := "".join(islice(rows, LINES_AT_ONCE)):
        yield some.encode()


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


# ---- what it says ----


def _reporting(closed: mrr.ClosedMonth) -> dict[str, Any]:
    """Return what all live currencies closed with in the reporting one, at the rates that the close froze."""
    both = mrr.both_bases(closed.month, closed.month, today=_last_day(closed.month))[closed.month]
    found = departures.closings(closed.month, both)
    return {"currency": found.currency, "closing_micros": found.signed_micros}


def _decimals(closed: mrr.ClosedMonth) -> dict[str, int]:
    codes = {row["currency"] for row in closed.figures} | {_reporting_currency()}
    return {code: exponent(code) for code in sorted(codes)}


def _page(closed: mrr.ClosedMonth, manifest: dict[str, Any], *, now: datetime) -> str:
    reporting = manifest["reporting"]
    return render_to_string(
        "evidence/index.html",
        {
            "company": manifest["company"],
            "month": formats.month(closed.month, long=True),
            "closed": closed,
            "closing": formats.money(shown(reporting["closing_micros"]), reporting["currency"]),
            "tables": [_table(row) for row in closed.figures],
            "steps": mrr.book_steps(limit=200, month=closed.month),
            "manifest": manifest,
            "zone": settings.REPORTING_TIME_ZONE,
            "now": now,
        },
    )


def _table(row: dict[str, Any]) -> FigureTable:
    source, currency = row["source"], row["currency"]
    return FigureTable(source, currency, tuple(_lines(row, source, currency)), row["customers"]["closing"])


def _lines(row: dict[str, Any], source: str, currency: str) -> Iterator[FigureLine]:
    minors = _together([row[f"{part}_micros"] for part in PARTS])
    for part, minor in zip(PARTS, minors, strict=True):
        signed = part not in ("opening", "closing")
        text = formats.money(minor, currency, signed=signed)
        yield FigureLine(charts.LABELS[part], text, f"{source}:{currency}:{part}", row[f"{part}_micros"])


def _together(micros: Sequence[int]) -> list[int]:
    """Round a row's figures as pages do: opening and closing by themselves, the parts so that they add up."""
    opening, *parts, closing = micros
    return [shown(opening), *mrr.parts_shown(shown(closing) - shown(opening), parts), shown(closing)]


def _last_day(month: date) -> date:
    return plus_months(month, 1) - timedelta(days=1)
