"""Has all Users, and what is new of Accounts, read once."""

from django.db import migrations


def forget_how_far(apps, schema_editor):
    """A demo has no org to read from."""
    apps.get_model("crm", "SalesforceOrg").objects.filter(is_demo=False).update(mirrored_to=None)


class Migration(migrations.Migration):
    dependencies = [("crm", "0024_users_and_waiting")]

    operations = [migrations.RunPython(forget_how_far, migrations.RunPython.noop, elidable=True)]
