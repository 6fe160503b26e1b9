"""What a match would do, before anybody makes it: the Account's MRR, the movement's type, what is released."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from crm import selectors as crm
from dashboard import formats
from dashboard.pages.explain import plural
from mrr import selectors as mrr
from mrr.engine.money import shown

BEGINNINGS = ("new", "reactivation")
MOST_REPLAYED = 50  # customers of an Account; of an agency's hundreds the type is not told
RECORDS = {"account": "the Account's fields", "schedule": "schedule entry", "opportunity": "Opportunity"}


@dataclass(frozen=True)
class OnAccounts:
    """What the customers of the candidates' Accounts pay now, by Account and currency, and how they came to it.

    Of an Account with too many customers only what they pay is known. `own` are the customer's own entries.
    """

    micros: Mapping[str, Mapping[str, int]]
    steps: Mapping[str, Sequence[mrr.Step]]
    own: Sequence[mrr.Step]


def on_accounts(customer_pk: int, customers: Mapping[str, Collection[int]]) -> OnAccounts:
    """Read what the effects of all candidates need: one query, two where an Account has very many customers."""
    few = {account: set(pks) for account, pks in customers.items() if pks and len(pks) <= MOST_REPLAYED}
    many = {account: set(pks) for account, pks in customers.items() if len(pks) > MOST_REPLAYED}
    found = mrr.steps_of({customer_pk, *(pk for pks in few.values() for pk in pks)}) if few else []
    steps = {account: [one for one in found if one.customer_pk in pks] for account, pks in few.items()}
    micros = {account: _sums((one.currency, one.micros) for one in of_it) for account, of_it in steps.items()}
    if many:
        held = mrr.balances({pk for pks in many.values() for pk in pks})
        for account, pks in many.items():
            micros[account] = _sums((one.currency, one.mrr_micros) for pk in pks for one in held[pk])
    return OnAccounts(micros, steps, [one for one in found if one.customer_pk == customer_pk])


def effect(row: crm.UnmatchedRow, account_id: str, name: str, there: OnAccounts) -> str:
    """Say what accepting a candidate would do."""
    said = (
        _adds(row, there.micros.get(account_id, {}), name),
        kind_on_account(there.own, there.steps.get(account_id, ())),
        _releases(row.held_kinds),
    )
    return " ".join(words for words in said if words)


def kind_on_account(own: Sequence[mrr.Step], others: Sequence[mrr.Step]) -> str:
    """Say what the customer's last beginning becomes in views by Account, where others of it paid before.

    Empty where nobody of the Account ever paid before it: the type stays.
    """
    begun = next((one for one in reversed(own) if one.type in BEGINNINGS), None)
    if begun is None:
        return ""
    paid = _sums((one.currency, one.micros) for one in others if one.effective_at < begun.effective_at)
    if not paid:
        return ""
    becomes = "expansion" if any(micros > 0 for micros in paid.values()) else "reactivation"
    return f"By Account, its {begun.type} becomes {becomes}." if becomes != begun.type else ""


def _sums(parts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for currency, micros in parts:
        found[currency] = found.get(currency, 0) + micros
    return found


def _adds(row: crm.UnmatchedRow, now: Mapping[str, int], name: str) -> str:
    ours = _sums((one.currency, one.mrr_micros) for one in row.balances if one.mrr_micros)
    if not ours:
        return f"puts it on {name}; it pays nothing now."
    parts = []
    for currency, micros in ours.items():
        before = now.get(currency, 0)
        parts.append(
            f"{formats.money(shown(micros), currency)} of MRR to {name} (now {formats.money(shown(before), currency)}, "
            f"becomes {formats.money(shown(before + micros), currency)})"
        )
    return f"adds {' and '.join(parts)}."


def _releases(held: Mapping[str, int]) -> str:
    total = sum(held.values())
    if not total:
        return "No record is held for it."
    listed = []
    for kind, count in held.items():
        words = RECORDS.get(kind, kind)
        listed.append(words if kind == "account" else f"{formats.count(count)} {plural(count, words)}")
    return f"Releases {formats.count(total)} held {plural(total, 'record')}: {', '.join(listed)}."
