"""Chatter posts: they have no key to upsert by, so each carries a marker and is looked for before it is repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from django.conf import settings

from crm import messages
from crm.channels.salesforce.packing import Write
from crm.channels.salesforce.soql import quoted_list

if TYPE_CHECKING:
    from crm.channels.salesforce.client import Client
    from crm.models import Message
    from mrr.selectors import Movement

FEED_ITEM = "FeedItem"
ASKED_AT_ONCE = 100


def closed_won(row: Message, movement: Movement, account_id: str) -> Write:
    """Return the post that tells of a customer won, on its Account's feed."""
    from mrr import selectors as mrr

    win = messages.Win(
        customer=movement.customer_name or movement.customer_id,
        kind=movement.type,
        began_on=movement.effective_at.astimezone(mrr.reporting_zone()).date(),
        mrr_minor=movement.amount_minor,
        arr_minor=movement.arr_minor,
        currency=movement.currency,
        days_lapsed=movement.days_lapsed,
        url=f"{settings.BASE_URL}/dashboard/customers/{movement.customer_pk}/",
    )
    body = messages.chatter_post(win, marker=marker(row.dedupe_key))
    return Write(row.ref, account_id, FEED_ITEM, {"ParentId": account_id, "Body": body})


def marker(dedupe_key: str) -> str:
    """Return the line by which a post is found again; it names nobody."""
    return f"Ref. mrr-{hashlib.sha256(dedupe_key.encode()).hexdigest()[:16]}"


def standing(client: Client, posts: Mapping[int, Write]) -> dict[int, str]:
    """Look for posts that may stand already, because an earlier try got no clear answer; returns their ids by ref.

    One query for a hundred Accounts. The feed is read, not searched: Chatter's search sees a post minutes late.
    """
    found: dict[int, str] = {}
    accounts = sorted({post.group for post in posts.values()})
    for start in range(0, len(accounts), ASKED_AT_ONCE):
        asked = accounts[start : start + ASKED_AT_ONCE]
        for record in client.query(_soql(asked)):
            found |= {
                ref: str(record["Id"])
                for ref, post in posts.items()
                if post.group == record.get("ParentId") and _marker_of(post) in str(record.get("Body") or "")
            }
    return found


def _soql(account_ids: Sequence[str]) -> str:
    newest = "ORDER BY CreatedDate DESC LIMIT 2000"
    return f"SELECT Id, ParentId, Body FROM FeedItem WHERE ParentId IN {quoted_list(account_ids)} {newest}"  # noqa: S608  # SOQL, values quoted


def _marker_of(post: Write) -> str:
    return str(post.fields["Body"]).rsplit("\n", 1)[-1]
