"""The books: which months are closed, the chain of seals, and a hash on every entry."""

from datetime import UTC, datetime

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from billing.append_only import protect
from mrr import digests


def begin(apps, schema_editor):
    """Add the row that says what is closed, and the seal that follows nothing."""
    apps.get_model("mrr", "BookState").objects.get_or_create(pk=1)
    made_at = datetime(2026, 1, 1, tzinfo=UTC)
    apps.get_model("mrr", "Seal").objects.get_or_create(
        number=0,
        defaults={
            "previous": digests.GENESIS,
            "made_at": made_at,
            "ranges": [],
            "entries": 0,
            "digest": digests.of_seal(
                number=0, previous=digests.GENESIS, made_at=made_at, ranges=[], books="", entries=()
            ),
        },
    )


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_work_by_customer"),
        ("mrr", "0005_balances_by_the_clock"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="BookState",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("closed_through", models.DateField(help_text="first day of the last closed month", null=True)),
            ],
        ),
        migrations.CreateModel(
            name="CheckRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
                ("touched_at", models.DateTimeField()),
                ("stage", models.CharField(max_length=20)),
                ("state", models.JSONField(default=dict, help_text="what the next slice goes on from")),
                ("customers", models.PositiveIntegerField(default=0)),
                ("entries", models.PositiveIntegerField(default=0)),
                ("differences", models.PositiveIntegerField(default=0)),
                ("findings", models.JSONField(default=list, help_text="the first hundred, one line each")),
                ("seal_number", models.PositiveIntegerField(null=True)),
                ("seal_digest", models.CharField(blank=True, max_length=64)),
            ],
        ),
        migrations.AddField(
            model_name="ledgerentry",
            name="digest",
            field=models.CharField(default="", editable=False, help_text="SHA-256 of all of the above", max_length=64),
        ),
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField(unique=True)),
                ("previous", models.CharField(help_text="hash of the seal before", max_length=64, unique=True)),
                ("made_at", models.DateTimeField()),
                ("ranges", models.JSONField()),
                ("entries", models.PositiveIntegerField(help_text="how many are sealed by it")),
                (
                    "last_entry",
                    models.BigIntegerField(default=0, help_text="the highest row key sealed by now"),
                ),
                ("books", models.CharField(blank=True, help_text="hash of the newest book action then", max_length=64)),
                ("digest", models.CharField(max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name="BookRollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("currency", models.CharField(max_length=3)),
                ("month", models.DateField()),
                ("adjustment_micros", models.BigIntegerField(default=0)),
                ("opening_micros", models.BigIntegerField(default=0)),
                ("new_micros", models.BigIntegerField(default=0)),
                ("expansion_micros", models.BigIntegerField(default=0)),
                ("reactivation_micros", models.BigIntegerField(default=0)),
                ("contraction_micros", models.BigIntegerField(default=0)),
                ("churn_micros", models.BigIntegerField(default=0)),
                ("opening_customers", models.BigIntegerField(default=0)),
                ("new_customers", models.BigIntegerField(default=0)),
                ("reactivated_customers", models.BigIntegerField(default=0)),
                ("churned_customers", models.BigIntegerField(default=0)),
                ("netted_new_micros", models.BigIntegerField(default=0)),
                ("netted_expansion_micros", models.BigIntegerField(default=0)),
                ("netted_reactivation_micros", models.BigIntegerField(default=0)),
                ("netted_contraction_micros", models.BigIntegerField(default=0)),
                ("netted_churn_micros", models.BigIntegerField(default=0)),
                ("netted_new_customers", models.BigIntegerField(default=0)),
                ("netted_reactivated_customers", models.BigIntegerField(default=0)),
                ("netted_churned_customers", models.BigIntegerField(default=0)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.stripesource"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("source", "currency", "month"), name="a_month_is_booked_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="BookAction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField(unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[("closed", "Closed"), ("reopen_asked", "Reopen Asked"), ("reopened", "Reopened")],
                        max_length=15,
                    ),
                ),
                ("month", models.DateField()),
                ("made_at", models.DateTimeField()),
                ("policy_version", models.PositiveIntegerField(null=True)),
                (
                    "entries",
                    models.PositiveIntegerField(help_text="how many are booked in the month, reversals too", null=True),
                ),
                ("entries_digest", models.CharField(blank=True, max_length=64)),
                (
                    "figures",
                    models.JSONField(help_text="the month as closed, per source and currency, in micros", null=True),
                ),
                ("notes", models.JSONField(help_text="what was not well at the close", null=True)),
                ("reason", models.TextField(blank=True)),
                ("reason_sha256", models.CharField(blank=True, max_length=64)),
                (
                    "manner",
                    models.CharField(blank=True, help_text="second_person, one_time_code or notice", max_length=20),
                ),
                ("previous", models.CharField(help_text="hash of the action before", max_length=64, unique=True)),
                ("digest", models.CharField(max_length=64)),
                (
                    "answers",
                    models.OneToOneField(
                        help_text="the request that was granted",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="answer",
                        to="mrr.bookaction",
                    ),
                ),
                (
                    "made_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "seconded_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "seal",
                    models.ForeignKey(
                        help_text="head at the close",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="mrr.seal",
                    ),
                ),
            ],
            options={
                "verbose_name": "book action",
                "indexes": [models.Index(fields=["month", "number"], name="actions_of_a_month")],
            },
        ),
        migrations.RunPython(begin, migrations.RunPython.noop),
        protect("mrr_seal"),
        protect("mrr_bookaction"),
    ]
