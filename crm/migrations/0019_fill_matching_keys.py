"""Works out the keys that matching finds mirrored Accounts and Contacts by; rows that say nothing are left as they are."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from crm.domains import company_domain
from crm.keys import account_keys

AT_ONCE = 2000
KEYS = ("name_key", "name_start", "domain", "phone_key")


def fill(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    _fill(apps.get_model("crm", "Account").objects.using(alias), _account, KEYS)
    _fill(apps.get_model("crm", "Contact").objects.using(alias).exclude(email=""), _contact, ("domain",))


def _account(row: Any) -> dict[str, str]:
    if row.forgotten_at:
        return dict.fromkeys(KEYS, "")
    return account_keys(name=row.name, website=row.website, phone=row.phone, country=row.country)


def _contact(row: Any) -> dict[str, str]:
    return {"domain": company_domain(row.email)}


def _fill(rows: Any, keys_of: Any, columns: tuple[str, ...]) -> None:
    last = 0
    while page := list(rows.filter(pk__gt=last).order_by("pk")[:AT_ONCE]):
        for row in page:
            for name, value in keys_of(row).items():
                setattr(row, name, value)
        rows.bulk_update(page, columns, batch_size=200)
        last = page[-1].pk


class Migration(migrations.Migration):
    dependencies = [("crm", "0018_matching_keys")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop, elidable=True)]
