"""Recomputes a closed month from this archive: its figures, its hashes and the chain of closes. Needs Python 3.9 alone.

Run it where the archive was unpacked: `python3 verify.py`. It asks nobody and changes nothing. Exit 0: all holds.
The hash of the close that it prints at the end is to be compared with the one that was written down when it was signed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

GENESIS = hashlib.sha256(b"The first seal follows nothing.").hexdigest()
MOVED = ("new", "expansion", "reactivation", "contraction", "churn", "adjustment")
ACTION = (
    "number kind month made_by_id made_at seal_id policy_version entries entries_digest figures notes "
    "reason_sha256 answers_id manner seconded_by_id"
).split()
ESCAPED = re.compile(r"^'(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")
Place = tuple[str, str]  # source and currency
Sums = dict[Place, dict[str, int]]
SHOWN = re.compile(r'data-figure="([^"]+)" data-micros="(-?\d+)"')


def main(folder: Path) -> int:
    """Check everything; print what fails, and what was compared. Return how many things fail."""
    csv.field_size_limit(2**31 - 1)
    failed: list[str] = []
    manifest = _json(folder / "manifest.json")
    _files(folder, manifest, failed)
    closes = _json(folder / "closes.json")
    action = _chain(closes, manifest, failed)
    if action is not None:
        count, digest, sums = _entries(folder, action["month"], failed)
        _same("entries booked in the month", count, action["entries"], failed)
        _same("hash of the entries", digest, action["entries_digest"], failed)
        figures = _figures(sums, _before(closes, action))
        _compare(figures, action["figures"], failed)
        _page(folder, figures, failed)
        _rates(_json(folder / "rates.json"), action, manifest, figures, failed)
    for one in failed:
        print("FAILS:", one)
    if not failed and action is not None:
        print(f"{manifest['month']}: {action['entries']} entries, their figures, hashes and the chain of closes hold.")
        print(f"Hash of the close, to be compared with what was signed: {action['digest']}")
    return len(failed)


# ---- files and chain ----


def _files(folder: Path, manifest: Any, failed: list[str]) -> None:
    for name, kept in manifest["files"].items():
        found = hashlib.sha256()
        with (folder / name).open("rb") as file:
            for chunk in iter(lambda: file.read(1 << 20), b""):
                found.update(chunk)
        _same(f"file {name}", found.hexdigest(), kept["sha256"], failed)


def _chain(closes: Any, manifest: Any, failed: list[str]) -> Any:
    """Check that each thing done with a month covers the one before; return the close that this archive proves."""
    before, proven = GENESIS, None
    for place, action in enumerate(closes["actions"], 1):
        name = f"step {action['number']}, {action['kind']} {action['month'][:7]}"
        _same(f"{name}: its place", action["number"], place, failed)
        _same(f"{name}: the step before", action["previous"], before, failed)
        plain = {column: action[column] for column in ACTION}
        before = _of_value(["action/1", action["previous"], plain])
        _same(f"{name}: its hash", before, action["digest"], failed)
        if action["reason"]:
            _same(f"{name}: its note", _of_text(action["reason"]), action["reason_sha256"], failed)
        if action["number"] == manifest["close"]["number"]:
            proven = action
    if proven is None:
        failed.append("the close of this month is not among the steps")
        return None
    _same("the close that the manifest names", proven["digest"], manifest["close"]["sha256"], failed)
    _seal(closes["seal"], proven, manifest, failed)
    return proven


def _seal(seal: Any, action: Any, manifest: Any, failed: list[str]) -> None:
    """Check the seal that covers the close, and follows the one that was the chain's head at the close."""
    _same("the seal covers the close", seal["books"], action["digest"], failed)
    _same("the seal before", seal["previous"], manifest["seal"]["sha256"], failed)
    if not seal["entries"]:  # with entries of its own it also covers some of another month
        text = ["seal/1", seal["number"], seal["previous"], seal["made_at"], seal["ranges"], seal["books"]]
        _same("hash of the seal", _of_value(text), seal["digest"], failed)


# ---- entries and figures ----


def _entries(folder: Path, month: str, failed: list[str]) -> tuple[int, str, Sums]:
    """Walk through entries and their events side by side; return count, hash and sums by source and currency."""
    booked, count = hashlib.sha256(b"booked/1"), 0
    sums: Sums = {}
    with (folder / "entries.csv").open(newline="") as rows, (folder / "events.csv").open(newline="") as told:
        events = csv.DictReader(told)
        for raw in csv.DictReader(rows):
            row = {name: ESCAPED.sub("", cell) for name, cell in raw.items()}
            lines = json.loads(row["lines"])
            hashes = []
            for event_id in json.loads(row["event_ids"]):
                event = next(events, None)
                if event is None or (event["entry"], ESCAPED.sub("", event["event"])) != (row["entry"], event_id):
                    failed.append(f"entry {row['entry']}: its event {event_id} is missing from events.csv")
                    return count, booked.hexdigest(), sums
                hashes.append([event_id, event["sha256"]])
            _same(f"entry {row['entry']}: its hash", _of_entry(row, lines, hashes), row["sha256"], failed)
            _same(f"entry {row['entry']}: its month", row["book_month"], month, failed)
            total = sum(line["micros"] for line in lines)
            _same(f"entry {row['entry']}: its lines", total, int(row["amount_micros"]), failed)
            booked.update(f"\n{row['entry']} {row['sha256']}".encode())
            _add(sums.setdefault((row["source"], row["currency"]), {}), row)
            count += 1
        if next(events, None) is not None:
            failed.append("events.csv holds events of no entry")
    return count, booked.hexdigest(), sums


def _of_entry(row: dict[str, str], lines: Any, events: list[list[str]]) -> str:
    number = {name: int(row[name]) for name in ("source_id", "customer_id", "sequence", "amount_micros")}
    return _of_value(
        [
            "entry/1",
            row["entry"],
            number["source_id"],
            number["customer_id"],
            number["sequence"],
            row["type"],
            row["reason"],
            row["currency"],
            number["amount_micros"],
            int(row["paying_delta"]),
            lines,
            events,
            row["effective_at"],
            row["posted_at"],
            row["book_month"],
            row["backdated_from"] or None,
            int(row["days_lapsed"]) if row["days_lapsed"] else None,
            row["is_live"] == "yes",
            int(row["policy_version"]),
            row["reverses"],
        ]
    )


def _add(cell: dict[str, int], row: dict[str, str]) -> None:
    """Add an entry to its part: what came late is adjustment, a reversal stands under the type that it takes back."""
    kind = row["reverses_type"] or row["type"]
    part = "adjustment" if row["backdated_from"] else kind
    cell[part] = cell.get(part, 0) + int(row["amount_micros"])
    delta = int(row["paying_delta"])
    if delta:
        begins = (delta > 0) is (not row["reverses"])
        name = "gone" if not begins else "entered" if kind == "opening" else "begun"
        cell[name] = cell.get(name, 0) + (delta if begins else -delta)


def _before(closes: Any, action: Any) -> dict[Place, Any]:
    """Return the figures of the close before, by source and currency: this month opens with them."""
    year, month = int(action["month"][:4]), int(action["month"][5:7])
    earlier = f"{year - (month == 1)}-{(month - 2) % 12 + 1:02}-01"
    found = {}
    for one in closes["actions"]:
        if one["number"] < action["number"] and one["kind"] == "closed" and one["month"] == earlier:
            found = {(row["source"], row["currency"]): row for row in one["figures"]}
    return found


def _figures(sums: Sums, before: dict[Place, Any]) -> dict[Place, Any]:
    found = {}
    for place in sorted(sums.keys() | before.keys()):
        cell, opened = sums.get(place, {}), before.get(place, {})
        row: dict[str, Any] = {f"{part}_micros": cell.get(part, 0) for part in MOVED}
        row["opening_micros"] = opened.get("closing_micros", 0) + cell.get("opening", 0)
        row["closing_micros"] = sum(row.values())
        opening = opened.get("customers", {}).get("closing", 0) + cell.get("entered", 0)
        begun, gone = cell.get("begun", 0), cell.get("gone", 0)
        row["customers"] = {"opening": opening, "begun": begun, "churned": gone, "closing": opening + begun - gone}
        found[place] = row
    return found


def _compare(figures: dict[Place, Any], signed: Any, failed: list[str]) -> None:
    """Compare with what was signed. Whether a customer is new or returned depends on earlier months: they are added."""
    kept = {(row["source"], row["currency"]): row for row in signed}
    for place in sorted(figures.keys() | kept.keys()):
        if place not in kept:
            if any(figures[place][f"{part}_micros"] for part in ("opening", *MOVED)):
                failed.append(f"{place[0]} {place[1]}: its figures were not signed")
            continue
        row, other = figures.get(place, {}), kept[place]
        for part in ("opening", *MOVED, "closing"):
            name = f"{part}_micros"
            _same(f"{place[0]} {place[1]} {part}, in micros", row.get(name), other[name], failed)
        counts = other["customers"]
        begun = counts["new"] + counts["reactivated"]
        wanted = {name: counts[name] for name in ("opening", "churned", "closing")} | {"begun": begun}
        _same(f"{place[0]} {place[1]} customers", row.get("customers"), wanted, failed)


def _page(folder: Path, figures: dict[Place, Any], failed: list[str]) -> None:
    """Compare the figures that index.html shows."""
    shown = dict(SHOWN.findall((folder / "index.html").read_text("utf-8")))
    for name, micros in shown.items():
        source, currency, part = name.split(":")
        found = figures.get((source, currency), {}).get(f"{part}_micros", 0)
        _same(f"index.html {name}", int(micros), found, failed)
    if figures and not shown:
        failed.append("index.html shows no figure")


def _rates(rates: Any, action: Any, manifest: Any, figures: dict[Place, Any], failed: list[str]) -> None:
    """Check the frozen rates, and what all currencies come to at those of the month's last day."""
    _same("exchange rates", _of_value(rates["rates"]), action["notes"]["rates_sha256"], failed)
    total = 0
    by_currency: dict[str, int] = {}
    for (source, currency), row in figures.items():
        if source in manifest["live_sources"]:
            by_currency[currency] = by_currency.get(currency, 0) + row["closing_micros"]
    for currency, micros in by_currency.items():
        course = rates["rates"].get(currency)
        last = "1" if currency == manifest["reporting"]["currency"] else course[-1][1] if course else None
        total += round(micros * Fraction(last) * _scale(currency, manifest)) if last else 0
    _same("closing MRR in the reporting currency", total, manifest["reporting"]["closing_micros"], failed)


def _scale(currency: str, manifest: Any) -> Fraction:
    """Rates are between major units: say how many minor units of the reporting currency a minor unit stands for."""
    places = manifest["decimals"]
    return Fraction(10 ** places[manifest["reporting"]["currency"]], 10 ** places[currency])


# ---- hashes ----


def _same(what: str, found: object, wanted: object, failed: list[str]) -> None:
    if found != wanted:
        failed.append(f"{what} is {found}, and should be {wanted}")


def _of_value(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return _of_text(text)


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(1 if main(Path(__file__).resolve().parent) else 0)
