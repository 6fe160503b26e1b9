"""Computes MRR, ARR and twelve months of movements from event files alone, by its own few lines and none of our code.

    python tests/independent_mrr.py data/demo [--at 2026-03-31T23:59:59]

Reads every *.jsonl of the folder (one Stripe event a line, one file a source) and prints one JSON object. It knows what
the demo holds: licensed prices per unit, no coupons, no tiers. Amounts are micros: millionths of a minor unit.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

WINDOW = 60 * 60
PERIODS_A_YEAR = {"month": 12, "year": 1, "week": 52, "day": 365}
KINDS = ("new", "expansion", "reactivation", "contraction", "churn")


def half_even(value: Fraction) -> int:
    return round(value)  # Python rounds a Fraction half to even


def item_micros(item: dict) -> int:
    price = item["price"]
    every = price["recurring"]
    a_year = Fraction(price["unit_amount"]) * item["quantity"] * PERIODS_A_YEAR[every["interval"]]
    return half_even(a_year / every["interval_count"] / 12 * 1_000_000)


def worth(sub: dict) -> int:
    paused = (sub["pause_collection"] or {}).get("behavior") in ("void", "mark_uncollectible")
    if sub["status"] not in ("active", "past_due") or paused:
        return 0
    return sum(item_micros(item) for item in sub["items"]["data"])


def changes_of(events: list[dict]) -> list[tuple[int, str, str, int]]:
    """One customer's changes: (effective, subscription, currency, micros from then on), oldest first."""
    found, worths = [], {}
    for place, event in enumerate(sorted(events, key=lambda event: event["created"])):
        sub = event["data"]["object"]
        now = worth(sub)
        is_first = sub["id"] not in worths
        if now == worths.get(sub["id"], 0):
            worths[sub["id"]] = now
            continue
        effective = event["created"]
        if is_first:
            effective = sub["trial_end"] or sub["start_date"]
        elif sub["status"] == "canceled":
            effective = sub["ended_at"]
        worths[sub["id"]] = now
        found.append((effective, place, sub["id"], sub["currency"], now))
    return [(at, sub, currency, now) for at, _, sub, currency, now in sorted(found)]


def movements_of(changes: list[tuple[int, str, str, int]]) -> list[tuple[int, str, str, int]]:
    """What a customer's changes come to: (effective, currency, kind, micros)."""
    found = []
    holds: dict[str, tuple[str, int]] = {}
    has_paid = False
    while changes:
        window = [change for change in changes if change[0] <= changes[0][0] + WINDOW]
        changes = changes[len(window) :]
        before = total(holds)
        moved_at = {}
        for at, sub, currency, micros in window:
            holds[sub] = (currency, micros)
            moved_at[currency] = at
        after = total(holds)
        for currency, at in sorted(moved_at.items()):
            delta = after.get(currency, 0) - before.get(currency, 0)
            if not delta:
                continue
            if not any(before.values()):
                kind = "reactivation" if has_paid else "new"
            elif not any(after.values()):
                kind = "churn"
            else:
                kind = "expansion" if delta > 0 else "contraction"
            found.append((at, currency, kind, delta))
        has_paid = has_paid or any(after.values())
    return found


def total(holds: dict[str, tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for currency, micros in holds.values():
        sums[currency] += micros
    return sums


def month_of(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


def months_until(last: str, count: int) -> list[str]:
    number = int(last[:4]) * 12 + int(last[5:]) - 1
    return [f"{n // 12:04d}-{n % 12 + 1:02d}" for n in range(number - count + 1, number + 1)]


def report(folder: Path, at: int, months: int = 12) -> dict:
    """The books at a moment (Unix seconds): per currency MRR, ARR, paying customers, and the last months."""
    movements = []
    balances: dict[str, list[int]] = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl")):
        customers: dict[str, list[dict]] = defaultdict(list)
        seen = set()
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            told = event["data"]["object"]
            if event["id"] in seen or told["object"] != "subscription":
                continue
            seen.add(event["id"])
            customers[told["customer"]].append(event)
        for events in customers.values():
            own = [movement for movement in movements_of(changes_of(events)) if movement[0] <= at]
            movements += own
            for currency in {movement[1] for movement in own}:
                balances[currency].append(sum(micros for _, found, _, micros in own if found == currency))
    listed = months_until(month_of(at), months)
    return {
        "at": datetime.fromtimestamp(at, UTC).isoformat(),
        "currencies": {
            currency: {
                "mrr_micros": sum(held),
                "arr_micros": 12 * sum(held),
                "customers": sum(micros > 0 for micros in held),
                "months": [one_month(movements, currency, month) for month in listed],
            }
            for currency, held in sorted(balances.items())
        },
    }


def one_month(movements: list[tuple[int, str, str, int]], currency: str, month: str) -> dict:
    own = [movement for movement in movements if movement[1] == currency]
    opening = sum(micros for at, _, _, micros in own if month_of(at) < month)
    sums = {
        kind: sum(micros for at, _, found, micros in own if found == kind and month_of(at) == month) for kind in KINDS
    }
    return {"month": month, "opening": opening, **sums, "closing": opening + sum(sums.values())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="MRR from event files, without the product's code.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at", type=lambda text: int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()))
    asked = parser.parse_args()
    print(json.dumps(report(asked.folder, asked.at or int(datetime.now(UTC).timestamp())), indent=1))
