"""What finalised invoices show of items: the tax inside their prices, and metered usage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from billing.facts import TaxSeen
from billing.known_facts.rows import Key, rows_of
from billing.models import InvoiceLine, TaxRate

if TYPE_CHECKING:
    from billing.known_facts.asked import Asked


@dataclass(frozen=True, slots=True)
class Line:
    finalized: int
    is_void: bool
    amount: int  # after discounts, with the tax inside
    is_proration: bool
    period: tuple[int, int] | None
    taxes: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Billed:
    lines: Mapping[Key, Sequence[Line]]  # by subscription item
    percentages: Mapping[Key, str]  # by tax rate

    def taxes(self, source_pk: int, items: Iterable[str]) -> dict[str, tuple[TaxSeen, ...]]:
        found: dict[str, tuple[TaxSeen, ...]] = {}
        for item in items:
            seen = {
                TaxSeen(line.finalized, str(rate))
                for line in self.lines.get((source_pk, item), ())
                if (rate := self._rate(source_pk, line)) is not None
            }
            if seen:
                found[item] = tuple(sorted(seen, key=lambda tax: (tax.at, tax.rate)))
        return found

    def _rate(self, source_pk: int, line: Line) -> Fraction | None:
        """The tax inside a line, of its amount without tax: the rates' percentages, else the quotient of amounts."""
        if line.taxes is None or not line.amount:
            return None
        without = line.amount - sum(tax["amount"] for tax in line.taxes)
        rate = Fraction(0)
        for tax in line.taxes:
            percentage = self.percentages.get((source_pk, tax["rate"]))
            taxable = tax["taxable"] if tax["taxable"] is not None else without
            if percentage is not None:
                rate += Fraction(percentage) / 100
            elif taxable:
                rate += Fraction(tax["amount"], taxable)
            else:
                return None
        return rate

    def usage(self, source_pk: int, items: Iterable[str]) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for item in items:
            periods: dict[tuple[int, int], int] = defaultdict(int)
            for line in self.lines.get((source_pk, item), ()):
                if line.period is not None and not line.is_proration and not line.is_void:
                    inside = sum(tax["amount"] for tax in line.taxes or ())
                    periods[line.period] += line.amount - inside
            if periods:
                newest = sorted(periods, key=lambda period: (period[1], period[0]))[-USAGE_PERIODS:]
                found[item] = tuple([periods[period] for period in newest])
        return found


USAGE_PERIODS: Final = 3


def billed_of(asked: Sequence[Asked]) -> Billed:
    """Lines of finalised invoices for items that are metered or have tax inside."""
    about = [each for each in asked if each.metered or each.inclusive]
    items = {item for each in about for item in (*each.metered, *each.inclusive)}
    if not items:
        return Billed({}, {})
    rows = InvoiceLine.objects.filter(
        invoice__customer_id__in=[each.asker.pk for each in about],
        invoice__finalized_at__isnull=False,
        subscription_item_id__in=items,
    ).exclude(invoice__status__in=("draft", "deleted"))
    lines: dict[Key, list[Line]] = defaultdict(list)
    rates: set[Key] = set()
    for source_pk, item, finalized_at, status, amount, discount, is_proration, start, end, taxes in rows.values_list(
        "invoice__source_id",
        "subscription_item_id",
        "invoice__finalized_at",
        "invoice__status",
        "amount_minor",
        "discount_minor",
        "is_proration",
        "period_start_at",
        "period_end_at",
        "inclusive_taxes",
    ):
        assert finalized_at is not None
        period = (int(start.timestamp()), int(end.timestamp())) if start and end else None
        lines[source_pk, item].append(
            Line(int(finalized_at.timestamp()), status == "void", amount - discount, is_proration, period, taxes)
        )
        rates |= {(source_pk, tax["rate"]) for tax in taxes or () if tax["rate"]}
    return Billed(lines, dict(rows_of(TaxRate, "stripe_id", rates, ("percentage",))))
