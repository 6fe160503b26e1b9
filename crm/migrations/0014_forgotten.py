"""Contacts and Accounts of forgotten people stay bare, whatever Salesforce tells of them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0013_who_looks_after"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="forgotten_at",
            field=models.DateTimeField(help_text="set = it bears a forgotten person's name: kept bare", null=True),
        ),
        migrations.AddField(
            model_name="contact",
            name="forgotten_at",
            field=models.DateTimeField(help_text="set = a forgotten person's: its e-mail is not kept", null=True),
        ),
    ]
