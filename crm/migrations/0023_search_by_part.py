"""Index what Accounts and Contacts are searched by: starts of ids and e-mails, and any part where there are trigrams."""

from django.db import DatabaseError, migrations

STARTS = {
    "accounts_by_start_of_id": ("crm_account", "salesforce_id"),
    "contacts_by_start_of_email": ("crm_contact", "email"),
}
PARTS = {"accounts_by_part_of_name": "name", "accounts_by_part_of_domain": "domain"}


def make(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    for name, (table, column) in STARTS.items():
        schema_editor.execute(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} ({column} varchar_pattern_ops)"
        )
    try:
        schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:  # it is not installed on the server, or this role may not make it
        return
    for name, column in PARTS.items():
        schema_editor.execute(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} "
            f"ON crm_account USING gin (upper({column}::text) gin_trgm_ops)"
        )


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in (*STARTS, *PARTS):
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    atomic = False  # the table is written while the index is made

    dependencies = [("crm", "0022_made_accounts")]

    operations = [migrations.RunPython(make, drop)]
