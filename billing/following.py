"""What else follows when an object's row is written: lines, fetches that are owed, who is to be looked at again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q

from billing import columns, layouts
from billing.columns import Columns, Key
from billing.kinds import FIRST_TOLD, KINDS, TIMES, Mention
from billing.models import (
    Charge,
    Discount,
    Dispute,
    DisputeRuling,
    FetchKind,
    Invoice,
    InvoiceLine,
    Mirrored,
    Needs,
    Origin,
    Refund,
    Snapshot,
    Subscription,
    SubscriptionSchedule,
)
from billing.owed import Need
from billing.rows import SubscriptionState
from billing.statements import moment, select, write
from billing.values import LayoutError

if TYPE_CHECKING:
    from billing.batches import Batch


def rows_of_keys(model: type[Mirrored], keys: set[Key], *asked: str) -> Iterator[tuple[Any, ...]]:
    """The rows of these keys: source, Stripe's id, and the columns asked for."""
    if not keys:
        return
    for row in select(model, ("source_id", "stripe_id", *asked), of_keys(keys)):
        if (row[0], row[1]) in keys:  # the same id may stand in another source
            yield row


def of_keys(keys: Iterable[Key], column: str = "stripe_id") -> dict[str, set[Any]]:
    """What `select` is asked for: the values of both columns, one of which names the source."""
    return {"source_id": {source_pk for source_pk, _ in keys}, column: {stripe_id for _, stripe_id in keys}}


Finish = Callable[["Batch", Sequence[Mention], Sequence[Mention], Mapping[Key, int]], None]


def _finish_customers(
    batch: Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """A deletion ends what the customer holds; a discount reduces it."""
    batch.changed |= {
        batch.customers[mention.key]
        for mention in mentions
        if mention.event_type in TIMES or any(discount.is_of_customer for discount in mention.row.discounts)
    }
    _catch_up(batch, "customer", told)


def _finish_subscriptions(
    batch: Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """Each event leaves a snapshot: the engine replays all of them."""
    snapshots: dict[tuple[int, str], dict[str, Any]] = {}
    for mention in mentions:
        pk = batch.payer(mention)
        batch.changed.add(pk)
        state, before = mention.row.state, None
        if _is_told_by_invoices(state):
            batch.need(pk, Needs.INVOICES)
        if mention.previous is not None:
            try:
                earlier = layouts.subscription_state(layouts.before(mention.obj, mention.previous))
                before = earlier.to_json()
                if _is_told_by_invoices(earlier):
                    batch.need(pk, Needs.INVOICES)
            except LayoutError:
                before = None  # a hint that cannot be read is no hint
        snapshots[pk, mention.event_id] = {
            "customer_id": pk,
            "subscription_id": mention.row.id,
            "event_id": mention.event_id,
            "event_type": mention.event_type,
            "created_at": moment(mention.created),
            "is_live": mention.event.origin == Origin.WEBHOOK,
            "state": mention.state_json,
            "before": before,
        }
    key = ("customer_id", "event_id")
    write(Snapshot, list(snapshots.values()), key=key, update=("subscription_id", "event_type", "state", "before"))
    _owe_schedules(batch, told)


def _is_told_by_invoices(state: SubscriptionState) -> bool:
    return any(item.usage_type == "metered" or item.tax_behavior for item in state.items)


def _owe_schedules(batch: Batch, told: Sequence[Mention]) -> None:
    """A schedule that is only named is read, unless it is told of in the same batch."""
    named = {(mention.key[0], mention.row.schedule): mention for mention in told if mention.row.schedule}
    named = {key: mention for key, mention in named.items() if mention.row.state.status not in OVER}
    if not named:
        return
    known = {(source_pk, stripe_id) for source_pk, stripe_id in rows_of_keys(SubscriptionSchedule, set(named))}
    known |= {mention.key for mention in batch.mentions.get("subscription_schedule", ())}
    for key, mention in named.items():
        if key not in known:
            batch.missing.add(Need(key[0], FetchKind.SCHEDULE, key[1], batch.payer(mention), mention.created))


OVER: Final = ("canceled", "incomplete_expired")


def _finish_schedules(
    batch: Batch, mentions: Sequence[Mention], _told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """What is planned is CMRR."""
    for mention in mentions:
        pk = batch.payer(mention)
        batch.need(pk, Needs.SCHEDULE)
        batch.changed.add(pk)


def _finish_discounts(
    batch: Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """A discount that was known by its id alone has terms now."""
    for mention in mentions:
        pk = batch.payer_if_any(mention)
        if pk is not None:
            batch.changed.add(pk)
            if mention.row.is_of_customer:
                batch.need(pk, Needs.DISCOUNT)
    _note_first_told(batch, mentions)
    _catch_up(batch, "discount", told)


def _note_first_told(batch: Batch, mentions: Sequence[Mention]) -> None:
    """A movement names the event that told of a discount first, though a later one may have come before it."""
    first: dict[Key, Mention] = {}
    for mention in mentions:
        known = first.setdefault(mention.key, mention)
        if (mention.created, mention.event_id) < (known.created, known.event_id):
            first[mention.key] = mention
    rows = [columns.of_discount(told, told.row, batch.payer_if_any(told)) | columns.NOT_TOLD for told in first.values()]
    write(Discount, rows, key=("source_id", "stripe_id"), update=FIRST_TOLD)


def _finish_invoices(
    batch: Batch, mentions: Sequence[Mention], told: Sequence[Mention], pks: Mapping[Key, int]
) -> None:
    lines = {
        (pks[mention.key], line.id): columns.of_line(pks[mention.key], line)
        for mention in told
        for line in mention.row.lines
    }
    if lines:
        named = [name for name in next(iter(lines.values())) if name not in ("invoice_id", "stripe_id")]
        write(InvoiceLine, list(lines.values()), key=("invoice_id", "stripe_id"), update=named)
    known = batch.versions["invoice"]
    complete = [pks[mention.key] for mention in told if mention.key in known and mention.row.has_all_lines]
    if complete:  # a draft may have lost lines since
        gone = InvoiceLine.objects.filter(invoice_id__in=complete).values_list("pk", "invoice_id", "stripe_id")
        stale = [pk for pk, invoice_pk, stripe_id in gone if (invoice_pk, stripe_id) not in lines]
        if stale:
            InvoiceLine.objects.filter(pk__in=stale).delete()
    for mention in mentions:
        pk = batch.payer(mention)
        is_payment = batch.follows_payments and mention.row.status == "paid"
        if is_payment or (mention.row.finalized is not None and batch.is_followed(pk)):
            batch.changed.add(pk)
    _owe_lines(batch, told)
    _owe_subscriptions(batch, mentions)
    _catch_up(batch, "invoice", told)


def _owe_lines(batch: Batch, told: Sequence[Mention]) -> None:
    """A list of lines that was cut short is read whole, once the invoice is final."""
    short = {m.key: m for m in told if not m.row.has_all_lines and m.row.finalized is not None}
    if not short:
        return
    for source_pk, stripe_id, is_fetched in list(rows_of_keys(Invoice, set(short), "has_fetched_lines")):
        if not is_fetched:
            mention = short[source_pk, stripe_id]
            batch.missing.add(Need(source_pk, FetchKind.INVOICE, stripe_id, batch.payer(mention), mention.created))


def _owe_subscriptions(batch: Batch, mentions: Sequence[Mention]) -> None:
    """A subscription that only its invoices name began before we listened: its state is read."""
    known = batch.versions["invoice"]
    named = {
        (mention.key[0], mention.row.subscription): mention
        for mention in mentions
        if mention.row.subscription and mention.key not in known
    }
    for mention in batch.mentions.get("subscription", ()):
        named.pop(mention.key, None)
    if not named:
        return
    for source_pk, stripe_id in list(rows_of_keys(Subscription, set(named))):
        named.pop((source_pk, stripe_id), None)
    for (source_pk, stripe_id), mention in named.items():
        if not mention.is_fetched:
            pk = batch.payer(mention)
            batch.missing.add(Need(source_pk, FetchKind.SUBSCRIPTION, stripe_id, pk, mention.created))


def _finish_disputes(
    batch: Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """A dispute that was lost takes its subscription out: the events that ruled are kept, and the charge is found."""
    rulings: dict[Key, Columns] = {}
    for mention in mentions:
        pk = batch.payer_by_charge(mention)
        batch.need(pk, Needs.DISPUTE)
        if mention.event_type == "charge.dispute.closed" and mention.row.status in RULED:
            rulings[mention.key[0], mention.event_id] = {
                "source_id": mention.key[0],
                "dispute_id": mention.row.id,
                "event_id": mention.event_id,
                "at": moment(mention.created),
                "status": mention.row.status,
                "is_live": mention.event.origin == Origin.WEBHOOK,
            }
            if pk is not None:
                batch.changed.add(pk)
    if rulings:
        write(DisputeRuling, list(rulings.values()), key=("source_id", "event_id"))
    _owe_charges(batch, mentions)
    _catch_up(batch, "dispute", told)


RULED: Final = ("lost", "won")


def _owe_charges(batch: Batch, mentions: Sequence[Mention]) -> None:
    """A dispute's charge tells the customer, and of one that was lost the invoice and so the subscription."""
    named: dict[Key, list[Mention]] = defaultdict(list)
    for mention in mentions:
        if mention.row.charge:
            named[mention.key[0], mention.row.charge].append(mention)
    asked = rows_of_keys(Charge, set(named), "version_at", "invoice_id")
    charges = {(source_pk, stripe_id): (version, invoice) for source_pk, stripe_id, version, invoice in asked}
    invoices = {(key[0], invoice) for key, (_, invoice) in charges.items() if invoice}
    known = {(source_pk, stripe_id) for source_pk, stripe_id in rows_of_keys(Invoice, invoices)}
    for key, told in named.items():
        version, invoice = charges.get(key, (None, ""))
        is_lost = any(mention.row.status == "lost" for mention in told)
        if version is None or (is_lost and (key[0], invoice) not in known):
            since = max(mention.created for mention in told)
            batch.missing.add(Need(key[0], FetchKind.CHARGE, key[1], batch.payers.get(key), since))


def _catch_up(batch: Batch, name: str, told: Sequence[Mention]) -> None:
    """Note the time of what was told too late to be its object's last word."""
    written = {mention.key for mention in told}
    missed = {
        mention.key: TIMES[mention.event_type]
        for mention in batch.mentions[name]
        if mention.event_type in TIMES and mention.key not in written
    }
    rows: Any = KINDS[name].model._default_manager
    for (source_pk, stripe_id), time in sorted(missed.items(), key=lambda entry: entry[0]):
        at = datetime.fromtimestamp(batch.times[source_pk, stripe_id], UTC)
        is_news = Q(**{f"{time.column}__{'lt' if time.chosen is max else 'gt'}": at})
        unknown = Q(**{f"{time.column}__isnull": True})
        rows.filter(is_news | unknown, source_id=source_pk, stripe_id=stripe_id).update(**{time.column: at})


def _finish_charges(
    batch: Batch, mentions: Sequence[Mention], _told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """Disputes and refunds that came before their charge learn now whose they are."""
    charges = {mention.key: pk for mention in mentions if (pk := batch.payer_if_any(mention))}
    for model in (Dispute, Refund):
        waiting = model.objects.filter(
            source_id__in={source_pk for source_pk, _ in charges},
            charge_id__in={stripe_id for _, stripe_id in charges},
            customer__isnull=True,
        )
        for pk, source_pk, charge_id in waiting.values_list("pk", "source_id", "charge_id"):
            if (source_pk, charge_id) in charges:
                model.objects.filter(pk=pk).update(customer_id=charges[source_pk, charge_id])
                if model is Dispute:
                    batch.need(charges[source_pk, charge_id], Needs.DISPUTE)
    batch.payers.update(charges)
    batch.changed |= {pk for pk in charges.values() if batch.needs[pk] & Needs.DISPUTE}


FINISH: Final[dict[str, Finish]] = {
    "customer": _finish_customers,
    "discount": _finish_discounts,
    "subscription": _finish_subscriptions,
    "subscription_schedule": _finish_schedules,
    "invoice": _finish_invoices,
    "charge": _finish_charges,
    "dispute": _finish_disputes,
}
