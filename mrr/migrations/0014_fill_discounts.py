"""Fills what discounts take off from the entries that stand.

What the version before posts while this runs is not in it: the nightly check names it and `check_ledger --repair`
writes it.
"""

from datetime import UTC, datetime
from itertools import groupby

from django.db import migrations

from mrr.engine.gross import discount_steps
from mrr.engine.movements import Movement, line_from_json

CHUNK = 500


def fill(apps, _schema_editor):
    model = apps.get_model("mrr", "DiscountChange")
    added = []
    for (source_pk, customer_pk), movements in _customers(apps):
        for step in discount_steps(movements):
            added.append(
                model(
                    source_id=source_pk,
                    customer_id=customer_pk,
                    currency=step.currency,
                    effective_at=datetime.fromtimestamp(step.effective_at, UTC),
                    type=step.type,
                    net_micros=step.net_micros,
                    micros=step.micros,
                )
            )
        if len(added) >= CHUNK:
            model.objects.bulk_create(added)
            added = []
    model.objects.bulk_create(added)


def empty(apps, _schema_editor):
    apps.get_model("mrr", "DiscountChange").objects.all().delete()


def _customers(apps):
    """Yield each customer's source and key with its standing movements."""
    rows = apps.get_model("mrr", "LedgerEntry").objects.filter(reverses__isnull=True, reversed_by__isnull=True)
    columns = (
        "source_id",
        "customer_id",
        "type",
        "reason",
        "currency",
        "amount_micros",
        "paying_delta",
        "effective_at",
    )
    found = rows.order_by("source_id", "customer_id", "sequence").values_list(*columns, "lines")
    for place, group in groupby(found.iterator(chunk_size=2_000), key=lambda row: row[:2]):
        yield (
            place,
            [
                Movement(
                    kind, reason, currency, micros, paying, int(at.timestamp()), (), tuple(map(line_from_json, lines))
                )
                for _, _, kind, reason, currency, micros, paying, at, lines in group
            ],
        )


class Migration(migrations.Migration):
    dependencies = [("mrr", "0013_waterfall_options")]

    operations = [migrations.RunPython(fill, empty)]
