"""The rules of each time: versions are added, never changed."""

from django.db import migrations, models

from billing.append_only import protect


class Migration(migrations.Migration):
    dependencies = [
        ("mrr", "0003_reading_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="PolicyVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("version", models.PositiveIntegerField(unique=True)),
                ("preset", models.CharField(blank=True, help_text="the preset it was laid over", max_length=20)),
                ("settings", models.JSONField(help_text="every setting by name")),
                ("changed", models.JSONField(help_text="what differs from the version before: {key: [before, after]}")),
                ("made_by", models.CharField(max_length=150)),
                ("made_at", models.DateTimeField()),
            ],
        ),
        protect("mrr_policyversion"),
    ]
