from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mrr", "0004_policy_versions")]
    operations = [
        migrations.AddField(
            "customerbalance",
            "usage_micros",
            models.BigIntegerField(default=0, help_text="run-rate of metered usage, a month; no part of MRR"),
        ),
        migrations.AddField(
            "customerbalance",
            "clock_at",
            models.DateTimeField(null=True, help_text="when the clock changes this balance next, with no event"),
        ),
        migrations.AddIndex(
            "customerbalance",
            models.Index(
                fields=["clock_at"], name="balances_by_clock", condition=models.Q(("clock_at__isnull", False))
            ),
        ),
    ]
