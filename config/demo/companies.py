"""The demo company's customers: who they are, which Account they belong to, and why a few belong to none yet."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from typing import Any

from crm.ids import long_id

Json = dict[str, Any]

US, EU = "northwind-us", "northwind-eu"

FIRST = (
    "Harbor Bluepine Cedar Lumen Northgate Quarry Silverline Orchard Beacon Cobalt Driftwood Ember Fernway Granite "
    "Hollow Ironbridge Juniper Kestrel Larkspur Meridian Nimbus Oakhurst Pinnacle Quill Redwood Summit Tidewater Umber "
    "Verdant Willow Yarrow Zephyr Alder Brightwater Copperfield Dunmore Elmstead Foxglove Greystone Heron Inkwell "
    "Jasper Kingfisher Lantern Maple Nettle Osprey Portside"
).split()
SECOND = (
    "Analytics Logistics Health Robotics Foods Energy Software Studios Media Labs Finance Insurance Travel Retail "
    "Education Security Systems Networks Biotech Motors Textiles Print Legal Consulting Marine Aerospace Devices "
    "Payments Staffing Homes Outdoors Coffee Games Music Dental Optics Freight Farms Solar Cloud"
).split()
PEOPLE = (
    "Ada Ben Carla Dmitri Elena Farid Greta Hugo Ines Jonas Kira Liam Maya Noor Oskar Petra Quinn Rosa Sven Tara"
).split()
OWNERS = ("Ana Duarte", "Marcus Lee", "Priya Nair", "Tom Becker")

# city, country, postal code, legal form, telephone code
PLACES = {
    US: (
        ("Austin", "US", "78701", "Inc", "+1512555"),
        ("Denver", "US", "80202", "LLC", "+1303555"),
        ("Boston", "US", "02110", "Inc", "+1617555"),
        ("Seattle", "US", "98101", "Corp", "+1206555"),
        ("Chicago", "US", "60601", "Inc", "+1312555"),
        ("Toronto", "CA", "M5H 2N2", "Inc", "+1416555"),
        ("Sydney", "AU", "2000", "Pty Ltd", "+61255501"),
    ),
    EU: (
        ("Berlin", "DE", "10115", "GmbH", "+4930555"),
        ("London", "GB", "EC1A 1BB", "Ltd", "+4420555"),
        ("Lyon", "FR", "69001", "SAS", "+3347555"),
        ("Utrecht", "NL", "3511", "B.V.", "+3130555"),
        ("Leeds", "GB", "LS1 1UR", "Ltd", "+4411355"),
        ("Madrid", "ES", "28001", "S.L.", "+3491555"),
        ("Malmö", "SE", "211 20", "AB", "+4640555"),
    ),
}

# Why a customer has no Account: each kind in turn, for one customer in fourteen.
UNMATCHED = (
    "no_contact",
    "several_contacts",
    "no_account_for_id",
    "no_email",
    "contact_without_account",
    "malformed_id",
    "deleted_account",
)


@dataclass(frozen=True)
class Company:
    """One customer. `found_by` is how its Account is found: metadata, email, or one of UNMATCHED."""

    index: int
    source: str
    currency: str
    name: str
    email: str | None
    phone: str
    address: Json
    metadata: dict[str, str]
    found_by: str
    account_index: int
    is_old_layout: bool


def company(index: int) -> Company:
    """Return the customer of a number; the same in every run, however many there are."""
    source = EU if index % 20 in (2, 5, 7, 9, 12, 15, 18) else US
    city, country, postal_code, form, code = PLACES[source][index // 3 % len(PLACES[source])]
    bare = _bare_name(index)
    found_by = _found_by(index)
    account_index = index - 3 if _shares_account(index) else index
    if account_index != index:
        bare = f"{_bare_name(account_index)} Europe" if source == EU else f"{_bare_name(account_index)} West"
    person = PEOPLE[(index * 7) % len(PEOPLE)].lower()
    mailbox = ("billing", "accounts", person, "finance", person)[index % 5]
    metadata = {"signup": ("web", "sales", "partner")[index % 3]}
    if found_by == "metadata":
        metadata["salesforce_account_id"] = account_id(account_index)
    elif found_by == "no_account_for_id":
        metadata["salesforce_account_id"] = account_id(100_000 + index)
    elif found_by == "malformed_id":
        metadata["salesforce_account_id"] = f"ACC-{4000 + index}"
    return Company(
        index=index,
        source=source,
        currency="usd" if source == US else ("gbp" if country == "GB" else "eur"),
        name=f"{bare} {form}",
        email=None if found_by == "no_email" else f"{mailbox}@{_domain(account_index)}",
        phone=f"{code}{1000 + index * 37 % 9000}",
        address={
            "city": city,
            "country": country,
            "line1": f"{1 + index * 13 % 240} {FIRST[(index + 11) % len(FIRST)]} Street",
            "line2": None,
            "postal_code": postal_code,
            "state": None,
        },
        metadata=metadata,
        found_by=found_by,
        account_index=account_index,
        is_old_layout=index % 9 == 4,
    )


def accounts_and_contacts(count: int) -> tuple[list[Json], list[Json]]:
    """Return the Accounts and Contacts of the first `count` customers as crm.models names their fields."""
    accounts, contacts = [], []
    for index in range(count):
        one = company(index)
        if one.account_index == index:
            accounts.append(_account(one, index))
        contacts += _contacts(one)
        if one.found_by == "several_contacts":
            accounts.append(_account(one, 50_000 + index, name=f"{_bare_name(index)} Holdings"))
    return accounts, contacts


def account_id(index: int) -> str:
    """Return the Salesforce id, of 18 characters, of an Account's number."""
    return _salesforce_id("0015g00000", f"account {index}")


def _bare_name(index: int) -> str:
    place = (index * 677) % (len(FIRST) * len(SECOND))
    return f"{FIRST[place % len(FIRST)]} {SECOND[place // len(FIRST)]}"


def _domain(index: int) -> str:
    return f"{_bare_name(index).replace(' ', '').lower()}.example"


def _found_by(index: int) -> str:
    if index % 14 == 5:
        return UNMATCHED[index // 14 % len(UNMATCHED)]
    return "email" if index % 5 in (1, 3) else "metadata"


def _shares_account(index: int) -> bool:
    """Some Accounts pay through two customers; neither of the two may be one that waits for a match."""
    return index % 31 == 9 and index % 14 != 5 and (index - 3) % 14 != 5


def _account(one: Company, index: int, name: str = "") -> Json:
    return {
        "salesforce_id": account_id(index),
        "name": name or (one.name if index % 3 else _bare_name(one.index)),
        "website": f"https://www.{_domain(one.index)}",
        **_seat(one),
        "type": "Customer",
        "owner_name": OWNERS[index % len(OWNERS)],
        "is_deleted": one.found_by == "deleted_account",
    }


def _seat(one: Company) -> Json:
    """Where Salesforce has the company; who waits for lack of a Contact is known there by a seat abroad."""
    if one.found_by == "no_contact":
        return {"phone": "", "city": "Dublin", "postal_code": "D02 X285", "country": "IE"}
    return {"phone": one.phone, **{name: one.address[name] for name in ("city", "postal_code", "country")}}


def _contacts(one: Company) -> list[Json]:
    home = account_id(one.account_index)
    mailbox = f"{PEOPLE[one.index % len(PEOPLE)].lower()}.{PEOPLE[(one.index + 3) % len(PEOPLE)].lower()}"
    found = [_contact(one, 0, home, f"{mailbox}.{one.index}@{_domain(one.account_index)}")]
    if one.email is None or one.found_by in ("no_contact", "no_account_for_id", "malformed_id"):
        return found
    if one.found_by == "contact_without_account":
        return [*found, _contact(one, 1, "", one.email)]
    found.append(_contact(one, 1, home, one.email))
    if one.found_by == "several_contacts":
        found.append(_contact(one, 2, account_id(50_000 + one.index), one.email))
    return found


def _contact(one: Company, number: int, home: str, email: str) -> Json:
    return {
        "salesforce_id": _salesforce_id("0035g00000", f"contact {one.index} {number}"),
        "account_id": home,
        "email": email,
    }


def _salesforce_id(prefix: str, name: str) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    digest = hashlib.sha256(name.encode()).digest()
    return long_id(prefix + "".join(letters[byte % len(letters)] for byte in digest[: 15 - len(prefix)]))


def fixture(count: int = 400) -> str:
    """Return config/demo/accounts.json: one Account or Contact a line. `python -m config.demo.companies` writes it."""
    accounts, contacts = accounts_and_contacts(count)
    parts = [",\n".join(json.dumps(one, ensure_ascii=False) for one in found) for found in (accounts, contacts)]
    return f'{{"accounts": [\n{parts[0]}\n],\n"contacts": [\n{parts[1]}\n]}}\n'


if __name__ == "__main__":
    sys.stdout.write(fixture())
