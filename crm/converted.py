"""Owes anew the Accounts whose sums a new exchange rate changes: those that have something in another currency."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from crm import outbox
from crm.models import Match
from mrr import selectors as mrr

AT_ONCE = 2000


def owe_again(*, now: datetime) -> int:
    """Let the Accounts that pay in another currency than the reporting one be built anew; returns how many.

    One whose sums are the same at the new rates costs no call.
    """
    paying = mrr.paying_customers()
    abroad = [pk for pk, held in paying.items() if any(one.currency != settings.REPORTING_CURRENCY for one in held)]
    standing = Match.objects.filter(customer_id__in=abroad, undone_at__isnull=True)
    account_ids = sorted(set(standing.values_list("account__salesforce_id", flat=True)))
    for start in range(0, len(account_ids), AT_ONCE):
        outbox.owe_accounts(account_ids[start : start + AT_ONCE], now=now)
    return len(account_ids)
