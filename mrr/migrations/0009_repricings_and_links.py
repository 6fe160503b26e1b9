"""How far a change of policy has come, and subscriptions that replace one of another customer."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0001_initial"),
        ("mrr", "0008_exchange_rates"),
    ]

    operations = [
        migrations.CreateModel(
            name="Repricing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("last_customer_pk", models.BigIntegerField(default=0)),
                ("customers", models.PositiveIntegerField(default=0)),
                ("posted", models.PositiveIntegerField(default=0)),
                ("reversed", models.PositiveIntegerField(default=0)),
                ("failed", models.JSONField(default=list)),
                (
                    "touched_at",
                    models.DateTimeField(help_text="when the last chunk was done: who does them shows that it lives"),
                ),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="repricing", to="mrr.policyversion"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SubscriptionLink",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("predecessor", models.CharField(help_text="the subscription that ended, sub_…", max_length=255)),
                ("successor", models.CharField(help_text="the subscription that began, sub_…", max_length=255)),
                ("made_by", models.CharField(max_length=150)),
                ("made_at", models.DateTimeField()),
                ("undone_by", models.CharField(blank=True, max_length=150)),
                ("undone_at", models.DateTimeField(null=True)),
                (
                    "predecessor_customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.stripesource"
                    ),
                ),
                (
                    "successor_customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("undone_at__isnull", True)),
                        fields=("source", "predecessor"),
                        name="a_subscription_is_replaced_once",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("undone_at__isnull", True)),
                        fields=("source", "successor"),
                        name="a_subscription_replaces_one",
                    ),
                ],
            },
        ),
    ]
