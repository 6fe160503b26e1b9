"""The Account of a match may be written into the metadata of its customer in Stripe."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0013_search_by_part"),
    ]

    operations = [
        migrations.AddField(
            model_name="stripesource",
            name="metadata_written_to",
            field=models.DateTimeField(editable=False, help_text="matches before this are written", null=True),
        ),
        migrations.AddField(
            model_name="stripesource",
            name="writes_metadata",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="the Account of a match goes into its customer's metadata; the key needs write access to Customers",
                verbose_name="write Account ids to Stripe",
            ),
        ),
        migrations.CreateModel(
            name="MetadataWrite",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "wanted",
                    models.CharField(blank=True, help_text="empty = none: what we wrote is taken out", max_length=18),
                ),
                ("written", models.CharField(blank=True, help_text="what we wrote last", max_length=18)),
                (
                    "version",
                    models.PositiveIntegerField(
                        default=1, help_text="of the wish; in the key that makes a repeat harmless"
                    ),
                ),
                ("state", models.CharField(default="waiting", help_text="waiting, done, parked", max_length=10)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("due_at", models.DateTimeField()),
                ("leased_until", models.DateTimeField(null=True)),
                ("code", models.CharField(blank=True, max_length=50)),
                ("error", models.TextField(blank=True)),
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="metadata_write",
                        to="billing.customer",
                    ),
                ),
            ],
            options={
                "verbose_name": "write to Stripe",
                "verbose_name_plural": "writes to Stripe",
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "waiting")), fields=["due_at", "id"], name="metadata_writes_due"
                    )
                ],
            },
        ),
    ]
