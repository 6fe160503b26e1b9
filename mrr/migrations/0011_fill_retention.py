"""Fills the sums of long periods and the losses from the entries that stand.

What the version before posts while this runs is not in them: the nightly check names it and `check_ledger --repair`
writes it. Customers of several currencies as a whole are left to the job that follows exchange rates.
"""

from collections.abc import Iterator
from itertools import groupby
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import migrations

from mrr import retention
from mrr.rollups import Standing, month_date, month_number, product_of

CHUNK = 500


def fill(apps, _schema_editor):
    loss, rollup = apps.get_model("mrr", "Loss"), apps.get_model("mrr", "RetentionRollup")
    sums: dict = {}
    losses: list = []
    has_mixed = False
    for pk, source_pk, cohort, entries in _customers(apps):
        is_mixed = len({entry.currency for entry in entries}) > 1
        has_mixed |= is_mixed
        for (currency, span, month), columns in retention.kept_of(entries).items():
            cell = sums.setdefault((source_pk, currency, is_mixed, span, month), {})
            for name, amount in columns.items():
                cell[name] = cell.get(name, 0) + amount
        losses += [_row(loss, source_pk, pk, is_mixed, one) for one in retention.losses_of(entries, cohort)]
        if len(losses) >= CHUNK:
            loss.objects.bulk_create(losses)
            losses = []
    loss.objects.bulk_create(losses)
    rollup.objects.bulk_create(
        [
            rollup(
                source_id=source_pk,
                currency=currency,
                is_mixed=is_mixed,
                span=span,
                month=month_date(month),
                **columns,
            )
            for (source_pk, currency, is_mixed, span, month), columns in sums.items()
        ],
        batch_size=CHUNK,
    )
    book = apps.get_model("mrr", "RateBook").objects.filter(pk=1).first()
    if has_mixed and book and ["", ""] not in book.stale:
        book.stale = [["", ""], *book.stale]
        book.save(update_fields=["stale"])


def empty(apps, _schema_editor):
    apps.get_model("mrr", "Loss").objects.all().delete()
    apps.get_model("mrr", "RetentionRollup").objects.all().delete()


def _customers(apps) -> Iterator[tuple]:
    """Yield each customer's key, source, month of acquisition and standing entries."""
    zone = ZoneInfo(settings.REPORTING_TIME_ZONE)
    balances = apps.get_model("mrr", "CustomerBalance").objects.filter(cohort_month__isnull=False)
    cohorts = dict(balances.values_list("customer_id", "cohort_month"))
    rows = apps.get_model("mrr", "LedgerEntry").objects.filter(reverses__isnull=True, reversed_by__isnull=True)
    columns = ("customer_id", "source_id", "type", "currency", "amount_micros", "paying_delta", "effective_at")
    found = rows.order_by("customer_id", "sequence").values_list(*columns, "reason", "lines")
    for pk, group in groupby(found.iterator(chunk_size=2_000), key=lambda row: row[0]):
        entries = []
        source_pk = 0
        for row in group:
            _, source_pk, kind, currency, micros, paying, at, reason, lines = row
            month = month_number(at.astimezone(zone).date())
            product = product_of(lines)
            entries.append(Standing(kind, currency, micros, paying, int(at.timestamp()), month, reason, product))
        yield pk, source_pk, month_number(cohorts[pk]) if pk in cohorts else None, entries


def _row(model, source_pk, customer_pk, is_mixed, loss):
    return model(
        source_id=source_pk,
        customer_id=customer_pk,
        currency=loss.currency,
        is_mixed=is_mixed,
        month=month_date(loss.month),
        back_month=None if loss.back is None else month_date(loss.back),
        reason=loss.reason,
        product=loss.product,
        tenure_months=loss.tenure_months,
        **{f"start_{number}": micros for number, micros in enumerate(loss.starts, start=1)},
    )


class Migration(migrations.Migration):
    dependencies = [("mrr", "0010_retention")]

    operations = [migrations.RunPython(fill, empty)]
