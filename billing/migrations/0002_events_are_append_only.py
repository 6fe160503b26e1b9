"""What was received never changes; only the queue's own columns move."""

from django.db import migrations

from billing.append_only import protect

RECEIVED = [
    "source_id",
    "stripe_id",
    "type",
    "created_at",
    "livemode",
    "api_version",
    "object_id",
    "body",
    "body_sha256",
    "origin",
    "received_at",
]


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [protect("billing_stripeevent", RECEIVED)]
