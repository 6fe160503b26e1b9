"""What an index finds Accounts and Contacts by: the mirror keeps these keys beside what Salesforce says. Pure."""

from __future__ import annotations

from crm.company_names import name_key, name_start
from crm.domains import website_domain
from crm.places import phone_key


def account_keys(*, name: str, website: str, phone: str, country: str) -> dict[str, str]:
    """Return the columns of a mirrored Account that follow from its other columns."""
    key = name_key(name)
    return {
        "name_key": key,
        "name_start": name_start(key),
        "domain": website_domain(website),
        "phone_key": phone_key(phone, country),
    }
