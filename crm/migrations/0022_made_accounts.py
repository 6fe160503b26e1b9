"""Accounts that people had made in Salesforce for customers."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0012_restored_listings"),
        ("crm", "0021_taken_back"),
    ]

    operations = [
        migrations.CreateModel(
            name="MadeAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("by", models.CharField(help_text="username", max_length=150)),
                ("asked_at", models.DateTimeField()),
                ("is_open", models.BooleanField(default=True, help_text="whether one was made is not known yet")),
                ("account_id", models.CharField(blank=True, max_length=18)),
                ("error", models.TextField(blank=True)),
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="made_account", to="billing.customer"
                    ),
                ),
            ],
            options={
                "verbose_name": "made Account",
                "indexes": [
                    models.Index(condition=models.Q(("is_open", True)), fields=["asked_at"], name="made_accounts_open")
                ],
            },
        ),
    ]
