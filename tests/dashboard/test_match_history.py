"""The customer's page tells the history of its match in words, and names nobody to who may see figures only."""

from __future__ import annotations

from datetime import UTC, datetime

from crm import matching
from crm.ids import long_id
from crm.models import Account, Match, SalesforceOrg
from dashboard.roles import Role
from tests.dashboard.test_pages import World, march, page_of, text_of, world

__all__ = ["march", "world"]

NOON = datetime(2026, 3, 20, 11, 0, tzinfo=UTC)
ACCOUNT = long_id("0015g00000HHHHH")


def test_every_decision_is_told_newest_first(world: World) -> None:
    org = SalesforceOrg.objects.order_by("pk").first() or SalesforceOrg.objects.create(instance_url="https://x.invalid")
    Account.objects.create(org=org, salesforce_id=ACCOUNT, name="Hidden Name Ltd", modified_at=NOON)
    pk = world.pk(world.beta)
    standing = Match.objects.filter(customer_id=pk, undone_at__isnull=True).first()
    if standing is not None:
        matching.unmatch(standing.pk, by="ana", now=NOON)
    else:
        matching.match_customers([pk], now=NOON, anew=True)
    matching.wait_for(pk, what="answer_from_sales", until=NOON, by="bo", now=NOON)
    matching.ignore(pk, reason="internal", note="secret note", by="bo", now=NOON)
    made = matching.match(pk, ACCOUNT, by="ana", now=NOON)
    matching.unmatch(made.pk, by="cy", now=NOON)

    said = text_of(page_of(Role.VIEWER).get(f"/dashboard/customers/{pk}/?tab=match"))

    told = [
        ("cy", f"undid the match to {ACCOUNT}"),
        ("ana", f"matched to {ACCOUNT}"),
        ("bo", "ignored: one of us; waits for nothing more; without a day"),
        ("bo", "waits for: an answer from sales; until 20 Mar 2026"),
    ]
    said = " ".join(said.split())
    places = [said.find(f"{who} {line}") for who, line in told]
    assert -1 not in places and places == sorted(places)
    assert "Hidden Name" not in said and "secret note" not in said
