"""Entries are added, never changed."""

from django.db import migrations

from billing.append_only import protect


class Migration(migrations.Migration):
    dependencies = [("mrr", "0001_initial")]
    operations = [protect("mrr_ledgerentry")]
