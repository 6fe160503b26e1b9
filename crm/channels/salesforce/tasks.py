"""The Tasks we ask people to do: upserted by an External ID, so that a repeat never makes a second one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings

from crm import messages
from crm.channels.salesforce.fields import MESSAGE_KEY, TASK
from crm.channels.salesforce.packing import Write

if TYPE_CHECKING:
    from crm.models import Message
    from mrr.selectors import Movement


def win_back(row: Message, movement: Movement, account_id: str, *, owner_id: str, now: datetime) -> Write:
    """Return the Task that asks to win a customer back, on its Account and due today.

    Without an owner it is the integration user's: nobody active looks after the Account.
    """
    from mrr import selectors as mrr

    zone = mrr.reporting_zone()
    loss = messages.Loss(
        customer=movement.customer_name or movement.customer_id,
        on=movement.effective_at.astimezone(zone).date(),
        mrr_minor=-movement.amount_minor,
        arr_minor=-movement.arr_minor,
        currency=movement.currency,
        reason=movement.reason,
        url=f"{settings.BASE_URL}/dashboard/customers/{movement.customer_pk}/",
    )
    fields = messages.win_back_task(loss, due_on=now.astimezone(zone).date())
    said = {**fields, "WhatId": account_id, **({"OwnerId": owner_id} if owner_id else {})}
    return Write(row.ref, account_id, TASK, said, key_field=MESSAGE_KEY, key=row.dedupe_key)


def payment(row: Message, fields: Mapping[str, Any], account_id: str) -> Write:
    """Return the completed Task of a paid invoice, on its Opportunity where there is one, else on the Account."""
    said = {"WhatId": account_id, **fields}
    return Write(row.ref, account_id, TASK, said, key_field=MESSAGE_KEY, key=row.dedupe_key)
