"""Say how an entry, or a customer's MRR, came about: the formula, the events with their bodies, the policy."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing import selectors as billing
from mrr import explain, selectors
from mrr.engine.formulas import exact
from mrr.explain import Explanation, Side


class Command(BaseCommand):
    help = (
        "Write out how an entry of the MRR schedule came about: its items before and after, the formula, its events "
        "with their bodies and the policy; of a customer (cus_…) the items that count now. The bodies of events hold "
        "personal data. JSON on the last line."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("entry", metavar="ENTRY", help="the key of an entry (mle_…), its number, or a customer")
        parser.add_argument("--source", default="", help="which source a customer is of, where several know it")
        parser.add_argument("--json", action="store_true", help="the last line is JSON in any case; no text")

    def handle(self, *, entry: str, source: str, **options: Any) -> None:
        text, result = _of_customer(entry, source) if entry.startswith("cus_") else _of_entry(entry)
        if not options["json"]:
            self.stdout.write("\n".join(text))
        self.stdout.write(json.dumps(result, ensure_ascii=False))


# ---- an entry ----


def _of_entry(name: str) -> tuple[list[str], dict[str, Any]]:
    found = explain.explanation(name)
    if found is None:
        raise CommandError(f"There is no entry '{name}': name it by its key (mle_…) or its number.", returncode=2)
    return _entry_text(found), _entry_json(found)


def _entry_text(found: Explanation) -> list[str]:
    entry = found.entry
    text = [
        f"{entry.type} of {entry.customer_id}, {_moment(entry.effective_at)}, {entry.reason}",
        f"  {found.written}",
        *([f"  takes back {entry.reverses}"] if entry.reverses else []),
        *([f"  taken back by {entry.reversed_by}"] if entry.reversed_by else []),
        "",
    ]
    for line in found.lines:
        text.append(
            f"{line.line.subscription} {line.line.item}: {exact(line.line.micros, entry.currency)} ({line.line.reason})"
        )
        for label, side in (("before", line.before), ("after", line.after)):
            text.append(f"  {label}: {_side_text(side, entry.currency)}")
    if entry.before_micros is not None and entry.after_micros is not None:
        before, after = exact(entry.before_micros, entry.currency), exact(entry.after_micros, entry.currency)
        text += ["", f"The customer's MRR: {before} before, {after} after"]
    text += [
        f"Posted {_moment(entry.posted_at)}, booked in {entry.book_month:%Y-%m}, entry {entry.key}",
        f"Policy {explain.policy_written(found.policy)}",
    ]
    for event in found.events:
        row = event.row
        made = _moment(row.created_at) if row.created_at else "at an unknown time"
        text += ["", f"{row.stripe_id} {row.type}, made {made}, received {_moment(row.received_at)}, {row.state}"]
        text.append(event.pretty)
    return text


def _side_text(side: Side | None, currency: str) -> str:
    return "not there" if side is None else f"{side.formula} = {exact(side.micros, currency)}"


def _entry_json(found: Explanation) -> dict[str, Any]:
    entry = found.entry
    return {
        "id": entry.key,
        "source": entry.source,
        "customer": entry.customer_id,
        "type": entry.type,
        "reason": entry.reason,
        "currency": entry.currency,
        "amount_minor": entry.amount_minor,
        "amount_micros": entry.amount_micros,
        "effective_at": _moment(entry.effective_at),
        "posted_at": _moment(entry.posted_at),
        "book_month": f"{entry.book_month:%Y-%m}",
        "reverses": entry.reverses,
        "reversed_by": entry.reversed_by,
        "formula": found.written,
        "lines": [
            {
                "subscription": line.line.subscription,
                "item": line.line.item,
                "reason": line.line.reason,
                "amount_micros": line.line.micros,
                "before": _side_json(line.before),
                "after": _side_json(line.after),
            }
            for line in found.lines
        ],
        "mrr_before_micros": entry.before_micros,
        "mrr_after_micros": entry.after_micros,
        "events": [
            {
                "id": event.row.stripe_id,
                "type": event.row.type,
                "created_at": _moment(event.row.created_at) if event.row.created_at else None,
                "state": event.row.state,
                "sha256": event.sha256,
                "body": event.text if event.body is None else event.body,
            }
            for event in found.events
        ],
        "policy": found.policy.as_json(),
    }


def _side_json(side: Side | None) -> dict[str, Any] | None:
    return None if side is None else {**side.terms, "mrr_micros": side.micros, "formula": side.formula}


# ---- a customer ----


def _of_customer(customer_id: str, source: str) -> tuple[list[str], dict[str, Any]]:
    rows = [row for row in billing.customers_by_stripe_id(customer_id) if not source or row.source_slug == source]
    if not rows:
        raise CommandError(f"There is no customer {customer_id}.", returncode=2)
    if len(rows) > 1:
        slugs = ", ".join(row.source_slug for row in rows)
        raise CommandError(f"Several sources know {customer_id}: name one with --source ({slugs}).", returncode=2)
    movements = selectors.movements_of([rows[0].pk])[rows[0].pk]
    text = [f"{customer_id} of {rows[0].source_slug}"]
    found = []
    for balance in selectors.balances([rows[0].pk])[rows[0].pk]:
        standing = [row for row in movements if row.currency == balance.currency]
        items = explain.items_now(standing)
        text += ["", f"MRR {exact(balance.mrr_micros, balance.currency)}"]
        text += [f"  {one.subscription} {one.item}: {_side_text(one.side, balance.currency)}" for one in items]
        text += [
            f"  {row.effective_at:%Y-%m-%d} {row.type} {exact(row.amount_micros, row.currency)} {row.reason} {row.key}"
            for row in standing
        ]
        found.append(
            {
                "currency": balance.currency,
                "mrr_micros": balance.mrr_micros,
                "items": [
                    {"subscription": one.subscription, "item": one.item, **(_side_json(one.side) or {})}
                    for one in items
                ],
                "entries": [{"id": row.key, "amount_micros": row.amount_micros} for row in standing],
            }
        )
    return text, {"customer": customer_id, "source": rows[0].source_slug, "currencies": found}


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
