from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0007_sending")]

    operations = [
        migrations.AddField(
            model_name="syncrecord",
            name="looked_up",
            field=models.JSONField(
                help_text="the Opportunities it may belong to, as Salesforce told at looked_up_at", null=True
            ),
        ),
        migrations.AddField(model_name="syncrecord", name="looked_up_at", field=models.DateTimeField(null=True)),
    ]
