"""Forgetting: whom, by which names, and the one way in which a body that was received may change."""

import django.db.models.deletion
from django.db import migrations, models

from billing.append_only import protect, redactable

RECEIVED = [
    "source_id",
    "stripe_id",
    "type",
    "created_at",
    "livemode",
    "api_version",
    "object_id",
    "body_sha256",
    "origin",
    "received_at",
]
BEFORE = protect("billing_stripeevent", [*RECEIVED, "body"])


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0009_recounted"),
    ]

    operations = [
        migrations.AddField(
            model_name="customer",
            name="forgotten_at",
            field=models.DateTimeField(help_text="set = nothing that tells of the person is kept from then", null=True),
        ),
        migrations.AddField(
            model_name="stripesource",
            name="has_forgotten",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="customers of it are forgotten: bodies are looked at",
            ),
        ),
        migrations.CreateModel(
            name="Forgetting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("customer_id", models.CharField(help_text="cus_…", max_length=255)),
                ("asked_by", models.CharField(max_length=150)),
                ("asked_at", models.DateTimeField()),
                ("reason", models.TextField(help_text="why; it names nobody")),
                ("due_at", models.DateTimeField(help_text="when it is done, or done again")),
                ("done_at", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, max_length=300)),
                (
                    "result",
                    models.JSONField(
                        default=dict, help_text="what was removed here, and what stands elsewhere; no names"
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="forgettings",
                        to="billing.stripesource",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ForgottenName",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stripe_id", models.CharField(max_length=255)),
                (
                    "forgetting",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="names", to="billing.forgetting"
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.stripesource"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Redaction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("body", models.BinaryField(null=True)),
                ("body_sha256", models.CharField(help_text="of the redacted form", max_length=64)),
                (
                    "event",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="redactions", to="billing.stripeevent"
                    ),
                ),
                (
                    "forgetting",
                    models.ForeignKey(
                        help_text="null = kept long enough",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="redactions",
                        to="billing.forgetting",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="forgetting",
            index=models.Index(
                condition=models.Q(("done_at__isnull", True)), fields=["due_at"], name="forgettings_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="forgetting",
            constraint=models.UniqueConstraint(fields=("source", "customer_id"), name="a_customer_is_forgotten_once"),
        ),
        migrations.AddConstraint(
            model_name="forgottenname",
            constraint=models.UniqueConstraint(fields=("source", "stripe_id"), name="a_forgotten_name_is_kept_once"),
        ),
        migrations.RunPython(BEFORE.reverse_code, BEFORE.code),
        protect("billing_stripeevent", RECEIVED),
        redactable("billing_stripeevent"),
        protect("billing_redaction", ["event_id", "forgetting_id", "at", "body_sha256"]),
        protect("billing_forgetting", ["source_id", "customer_id", "asked_by", "asked_at", "reason"]),
    ]
