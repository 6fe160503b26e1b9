"""Fills the new columns from what is mirrored already; customers known before are asked about everything."""

from django.db import migrations, models

ALL_NEEDS = 15


def fill(apps, _schema_editor):
    apps.get_model("billing", "Customer").objects.update(needs=ALL_NEEDS)
    discounts = apps.get_model("billing", "Discount").objects
    discounts.filter(subscription_id="").update(is_of_customer=True)
    discounts.update(first_at=models.F("start_at"), first_event=models.F("version_event"))
    terms = apps.get_model("billing", "CouponTerms")
    rows = apps.get_model("billing", "Coupon").objects.filter(created_at__isnull=False)
    terms.objects.bulk_create(
        (
            terms(
                source_id=coupon.source_id,
                coupon_id=coupon.stripe_id,
                created_at=coupon.created_at,
                percent_off=coupon.percent_off,
                amount_off_minor=coupon.amount_off_minor,
                currency=coupon.currency,
                duration=coupon.duration,
                applies_to=coupon.applies_to,
            )
            for coupon in rows.iterator()
        ),
        batch_size=500,
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_facts_and_fetches")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
