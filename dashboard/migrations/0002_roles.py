"""Makes the five roles, as groups of the same names."""

from django.db import migrations

# Written out: a migration must not change when the code does.
ROLES = ("viewer", "analyst", "revops", "finance", "admin")


def make_roles(apps, schema_editor):
    groups = apps.get_model("auth", "Group").objects
    for name in ROLES:
        groups.get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]

    operations = [migrations.RunPython(make_roles, migrations.RunPython.noop, elidable=False)]
