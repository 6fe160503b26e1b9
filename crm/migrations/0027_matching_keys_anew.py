"""Works out anew the keys of mirrored Accounts and Contacts whose rules changed, and has everybody who waits tried again."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from crm.company_names import name_key, name_start
from crm.domains import company_domain, website_domain

AT_ONCE = 2000


def work_out(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    accounts = apps.get_model("crm", "Account").objects.using(alias)
    _keep(accounts.filter(forgotten_at__isnull=True), _account)
    _keep(apps.get_model("crm", "Contact").objects.using(alias).exclude(email=""), _contact)
    apps.get_model("crm", "Unmatched").objects.using(alias).update(due_at=None)


def _account(row: Any) -> dict[str, str]:
    key = name_key(row.name)
    return {"name_key": key, "name_start": name_start(key), "domain": website_domain(row.website)}


def _contact(row: Any) -> dict[str, str]:
    return {"domain": company_domain(row.email)}


def _keep(rows: Any, keys_of: Any) -> None:
    """Write those rows alone that come out otherwise, a few thousand in memory at a time."""
    last = 0
    while page := list(rows.filter(pk__gt=last).order_by("pk")[:AT_ONCE]):
        changed = []
        names: set[str] = set()
        for row in page:
            other = {name: value for name, value in keys_of(row).items() if getattr(row, name) != value}
            for name, value in other.items():
                setattr(row, name, value)
            if other:
                changed.append(row)
                names |= other.keys()
        if changed:
            rows.bulk_update(changed, sorted(names), batch_size=200)
        last = page[-1].pk


class Migration(migrations.Migration):
    dependencies = [("crm", "0026_summaries_of_a_period")]

    operations = [migrations.RunPython(work_out, migrations.RunPython.noop, elidable=True)]
