"""Keeps books for tests of what is read: customers whose subscriptions are told in short words and posted for real."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from django.db import transaction

from billing.facts import NOTHING_KNOWN, Facts
from billing.models import Customer, StripeSource
from billing.selectors import History
from mrr import ledger
from mrr.models import LedgerEntry
from tests.mrr.histories import Subscription, histories


def moment(text: str) -> datetime:
    """Read `2026-03-01` or `2026-03-01 10:20` as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass
class Books:
    """Posts what subscriptions say; `now` is when it is learned."""

    now: datetime = field(default_factory=lambda: moment("2026-06-15 12:00"))

    def source(self, slug: str = "main", *, livemode: bool = True, history_from: date | None = None) -> StripeSource:
        found, _ = StripeSource.objects.get_or_create(
            slug=slug, defaults={"label": slug.title(), "livemode": livemode, "history_from": history_from}
        )
        return found

    def customer(
        self,
        stripe_id: str,
        *subscriptions: Subscription,
        source: str = "main",
        name: str = "",
        facts: Facts = NOTHING_KNOWN,
    ) -> Customer:
        """Make a customer and post what its subscriptions say."""
        kept = self.source(source)
        customer = Customer.objects.create(
            source=kept,
            stripe_id=stripe_id,
            name=name or stripe_id.removeprefix("cus_").title(),
            email=f"{stripe_id.removeprefix('cus_')}@example.com",
        )
        self.says(customer, *subscriptions, facts=facts)
        return customer

    def says(
        self,
        customer: Customer,
        *subscriptions: Subscription,
        now: datetime | None = None,
        facts: Facts = NOTHING_KNOWN,
    ) -> list[LedgerEntry]:
        """Post all that is known of a customer; what no longer holds is reversed."""
        history = History(
            source_pk=customer.source_id,
            customer_pk=customer.pk,
            customer_id=customer.stripe_id,
            history_from=customer.source.history_from,
            deleted=None,
            steps=histories(*subscriptions),
            facts=facts,
        )
        with transaction.atomic():
            return ledger.post({customer.pk: history}, now=now or self.now)
