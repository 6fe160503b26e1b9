"""What people set aside instead of matching it, and how long a match was waited for."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0012_restored_listings"),
        ("crm", "0016_notes"),
    ]

    operations = [
        migrations.AddField(
            model_name="match",
            name="waited_since",
            field=models.DateTimeField(help_text="since when it had been without an Account; null = never", null=True),
        ),
        migrations.AddField(
            model_name="salesforceorg",
            name="deletes_tasks",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Tasks of a match that was undone are deleted; else they say so and are closed",
            ),
        ),
        migrations.AddField(
            model_name="salesforceorg",
            name="makes_accounts",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="people may have an Account made for a customer that fits none",
            ),
        ),
        migrations.AddField(
            model_name="unmatched",
            name="ignored_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="unmatched",
            name="ignored_because",
            field=models.CharField(
                blank=True, db_default="", help_text="set = a person left it out, and why", max_length=40
            ),
        ),
        migrations.AddField(
            model_name="unmatched",
            name="ignored_by",
            field=models.CharField(blank=True, db_default="", help_text="username", max_length=150),
        ),
        migrations.AddField(
            model_name="unmatched",
            name="ignored_note",
            field=models.CharField(blank=True, db_default="", max_length=500),
        ),
        migrations.AddField(
            model_name="unmatched",
            name="news_at",
            field=models.DateTimeField(
                help_text="since it was set aside, an Account appeared that may be it", null=True
            ),
        ),
        migrations.AddField(
            model_name="unmatched",
            name="waits_by",
            field=models.CharField(blank=True, db_default="", help_text="username of who said so", max_length=150),
        ),
        migrations.AddField(
            model_name="unmatched",
            name="waits_for",
            field=models.CharField(
                blank=True, db_default="", help_text="what a person said it waits for", max_length=40
            ),
        ),
        migrations.AddField(
            model_name="unmatched",
            name="waits_until",
            field=models.DateTimeField(help_text="null with waits_for = until there is news about it", null=True),
        ),
        migrations.AddIndex(
            model_name="unmatched",
            index=models.Index(fields=["ignored_because"], name="unmatched_by_ignored"),
        ),
    ]
