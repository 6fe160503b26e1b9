"""Entries from before get their hash. Their triggers are lifted meanwhile, and put back (SQLite lost them at the new column)."""

from django.db import migrations
from django.db.models import F

from billing.append_only import protect
from mrr import digests

CHUNK = 1000
SHIELD = protect("mrr_ledgerentry")


def fill(apps, schema_editor):
    SHIELD.reverse_code(apps, schema_editor)
    entries = apps.get_model("mrr", "LedgerEntry").objects.annotate(reverses_key=F("reverses__key")).order_by("pk")
    events = apps.get_model("billing", "StripeEvent").objects.order_by()
    after = 0
    while chunk := list(entries.filter(pk__gt=after)[:CHUNK]):
        after = chunk[-1].pk
        told = events.filter(
            source_id__in={entry.source_id for entry in chunk},
            stripe_id__in={event_id for entry in chunk for event_id in entry.event_ids},
        )
        bodies = {
            (source, name): sha256 for source, name, sha256 in told.values_list("source_id", "stripe_id", "body_sha256")
        }
        for entry in chunk:
            entry.digest = digests.of_entry(entry, reverses=entry.reverses_key or "", bodies=bodies)
        entries.model.objects.bulk_update(chunk, ["digest"], batch_size=200)
    SHIELD.code(apps, schema_editor)


class Migration(migrations.Migration):
    dependencies = [("mrr", "0006_books")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
