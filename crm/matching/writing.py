"""Writes down what was decided: matches with their evidence, and who waits, why, and for what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime

from billing import selectors as billing
from crm import outbox, waiting
from crm.matching.deciding import METADATA_KEY, Decision
from crm.models import Match, Unmatched


def basis(customer: billing.CustomerRow) -> str:
    """Digest what of a customer matching looks at; another digest means that it must look again."""
    looked_at = [
        customer.email,
        customer.name,
        customer.phone,
        customer.country,
        customer.postal_code,
        customer.metadata.get(METADATA_KEY),
    ]
    return hashlib.sha256(json.dumps(looked_at, default=str).encode()).hexdigest()


def write_matches(found: Mapping[int, Decision], *, now: datetime) -> None:
    if not found:
        return
    waited = dict(Unmatched.objects.filter(customer_id__in=found).values_list("customer_id", "since"))
    made = [
        Match(
            customer_id=pk,
            account=decision.account,
            how=decision.how,
            evidence=[one.as_json() for one in decision.evidence],
            matched_at=now,
            waited_since=waited.get(pk),
        )
        for pk, decision in sorted(found.items())
    ]
    Match.objects.bulk_create(made, ignore_conflicts=True)  # a person who was first keeps the customer
    Unmatched.objects.filter(customer_id__in=waited).delete()
    outbox.release(list(found), now=now)
    outbox.owe_accounts({one.account.salesforce_id for one in found.values() if one.account}, now=now)


def write_unmatched(
    found: Mapping[int, Decision], customers: Mapping[int, billing.CustomerRow], *, now: datetime
) -> None:
    if not found:
        return
    news = _news(found)
    Unmatched.objects.bulk_create(
        [
            Unmatched(
                customer_id=pk,
                reason=decision.reason,
                basis=basis(customers[pk]),
                candidates=[one.as_json() for one in decision.candidates],
                since=now,
                checked_at=now,
            )
            for pk, decision in sorted(found.items())
        ],
        update_conflicts=True,
        unique_fields=["customer"],
        update_fields=["reason", "basis", "candidates", "checked_at"],
    )
    if news:
        Unmatched.objects.filter(customer_id__in=news).update(news_at=now)
    candidates = {pk: [one.account_id for one in decision.candidates] for pk, decision in found.items()}
    waiting.put_off({pk: customers[pk] for pk in found}, candidates, now=now)


def _news(found: Mapping[int, Decision]) -> list[int]:
    """Return the customers that a person set aside and that have a candidate now which they did not have then."""
    aside = Unmatched.objects.filter(customer_id__in=found).exclude(waits_for="", ignored_because="")
    known = {row.customer_id: {one["account_id"] for one in row.candidates} for row in aside}
    return [pk for pk, ids in known.items() if any(one.account_id not in ids for one in found[pk].candidates)]
