"""Index what customers are searched by, where PostgreSQL has trigrams; without them a search reads every row."""

from django.db import DatabaseError, migrations

INDEXES = {"customers_by_part_of_name": "name", "customers_by_part_of_email": "email"}


def make(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    try:
        schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:  # it is not installed on the server, or this role may not make it
        return
    for name, column in INDEXES.items():
        schema_editor.execute(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} "
            f"ON billing_customer USING gin (upper({column}::text) gin_trgm_ops)"
        )


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    atomic = False  # the table is written while the index is made

    dependencies = [("billing", "0012_restored_listings")]

    operations = [migrations.RunPython(make, drop)]
