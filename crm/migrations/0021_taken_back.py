"""What was written for a match that was undone is taken back, and an Opportunity keeps what it said before."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0020_notes_on_findings"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="takes_back",
            field=models.BooleanField(
                db_default=False, default=False, help_text="its match was undone: what stands there is taken back first"
            ),
        ),
        migrations.AddField(
            model_name="syncrecord",
            name="takes_back",
            field=models.BooleanField(
                db_default=False, default=False, help_text="its match was undone: what stands there is taken back first"
            ),
        ),
        migrations.AddField(
            model_name="syncrecord",
            name="was",
            field=models.JSONField(
                help_text="what an Opportunity said before we linked or won it; null = not known", null=True
            ),
        ),
    ]
