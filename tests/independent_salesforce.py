"""Compares what a Salesforce org holds with what our API says, field by field; knows nothing of our code.

python tests/independent_salesforce.py FAKE_URL API_URL TOKEN, or `compare` with two functions that return JSON.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

MICROS = Decimal(10) ** 8  # of a currency with two decimals: millionths of a cent in one unit
LAST_DECIMAL = Decimal("0.000001")


def compare(org: Callable[[str], Any], api: Callable[[str], Any]) -> list[str]:
    """Return every difference, in words. `org` gets an object's name, `api` a path."""
    schedules = {one["Ledger_Key__c"]: one for one in org("MRR_Schedule__c")}
    accounts = {one["Id"]: one for one in org("Account")}
    found: list[str] = []
    if len(schedules) != len(org("MRR_Schedule__c")):
        found.append("an entry stands twice")
    movements = {one["id"]: one for one in _movements(api)}
    found += [f"{key} is not in Salesforce" for key in movements.keys() - schedules.keys()]
    found += [f"{key} is not in the ledger" for key in schedules.keys() - movements.keys()]
    for key in sorted(movements.keys() & schedules.keys()):
        found += [f"{key}: {difference}" for difference in _differences(movements[key], schedules[key])]
    found += _sums(movements, schedules, accounts, api)
    won = [one["Stripe_Subscription_Id__c"] for one in org("Opportunity") if one.get("Stripe_Subscription_Id__c")]
    if len(won) != len(set(won)):
        found.append("a subscription has two Opportunities")
    tasks = [one["Message_Key__c"] for one in org("Task") if one.get("Message_Key__c")]
    if len(tasks) != len(set(tasks)):
        found.append("a Task stands twice")
    return found


def _movements(api: Callable[[str], Any]) -> Iterator[dict[str, Any]]:
    path: str | None = "/api/v1/movements?all=1&limit=1000"
    while path:
        page = api(path)
        yield from page["results"]
        path = page["next"]


def _differences(movement: dict[str, Any], record: dict[str, Any]) -> Iterator[str]:
    pairs = [
        ("type", movement["type"], record["Type__c"]),
        ("reason", movement["reason"] or None, record["Reason__c"]),
        ("currency", movement["currency"].upper(), record["Currency__c"]),
        ("customer", movement["customer"], record["Stripe_Customer_Id__c"]),
        ("account", movement["account_id"], record["Account__c"]),
        ("effective_at", _moment(movement["effective_at"]), _moment(record["Effective_At__c"])),
        ("posted_at", _moment(movement["posted_at"]), _moment(record["Posted_At__c"])),
        ("start", movement["effective_at"][:10], record["Start_Date__c"]),
        ("reverses", movement["reverses"], record["Reverses__c"]),
        ("policy", movement["policy_version"], int(Decimal(str(record["Policy_Version__c"])))),
        ("event", record["Stripe_Event_Id__c"] in movement["event_ids"], True),
    ]
    yield from (f"{name} is {ours!r} here and {theirs!r} there" for name, ours, theirs in pairs if ours != theirs)
    exact = Decimal(movement["amount_micros"]) / MICROS
    if abs(exact - _number(record["MRR_Delta__c"])) > LAST_DECIMAL:
        yield f"MRR is {exact} here and {record['MRR_Delta__c']} there"


def _sums(
    movements: dict[str, Any], schedules: dict[str, Any], accounts: dict[str, Any], api: Callable[[str], Any]
) -> Iterator[str]:
    deltas: dict[str, Decimal] = {}
    for one in schedules.values():
        deltas[one["Account__c"]] = deltas.get(one["Account__c"], Decimal(0)) + _number(one["MRR_Delta__c"])
    balances: dict[str, Decimal] = {}
    for one in movements.values():
        account = one["account_id"]
        balances[account] = balances.get(account, Decimal(0)) + Decimal(one["amount_micros"]) / MICROS
    for account_id, total in sorted(deltas.items()):
        held = _number(accounts[account_id]["MRR__c"])
        if held != total:
            yield f"Account {account_id}: MRR__c is {held}, its entries add up to {total}"
        if abs(held - balances.get(account_id, Decimal(0))) > LAST_DECIMAL * len(movements):
            yield f"Account {account_id}: MRR__c is {held}, the ledger says {balances.get(account_id)}"
    total = sum(balances.values(), Decimal(0))
    said = sum(Decimal(one["mrr_micros"]) for one in api("/api/v1/mrr")["currencies"]) / MICROS
    if abs(total - said) > LAST_DECIMAL:
        yield f"the API's MRR is {said}, its movements add up to {total}"


def _number(value: Any) -> Decimal:
    return Decimal(str(value or 0))


def _moment(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00").replace("+0000", "+00:00")).timestamp())


def main(fake_url: str, api_url: str, token: str) -> int:
    unchecked = ssl._create_unverified_context()

    def read(url: str, **headers: str) -> Any:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=unchecked) as answer:
            return json.load(answer)

    differences = compare(
        lambda name: read(f"{fake_url}/__control/records/{name}"),
        lambda path: read(path if path.startswith("http") else api_url + path, Authorization=f"Token {token}"),
    )
    print("\n".join(differences) or "no difference")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
