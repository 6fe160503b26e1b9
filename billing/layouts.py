"""Reads Stripe's objects in every API layout we know and returns our own values."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from billing import values
from billing.rows import (
    ChargeRow,
    CouponRow,
    CustomerRow,
    DiscountRow,
    DisputeRow,
    InvoiceRow,
    Item,
    LineRow,
    PayoutRow,
    PriceRow,
    ProductRow,
    RefundRow,
    ScheduleRow,
    SubscriptionRow,
    SubscriptionState,
    TaxRateRow,
)
from billing.values import Json, LayoutError

__all__ = [
    "Item",
    "LayoutError",
    "SubscriptionState",
    "before",
    "charge",
    "coupon",
    "customer",
    "discount",
    "dispute",
    "invoice",
    "payout",
    "price",
    "prices_of",
    "product",
    "refund",
    "schedule",
    "subscription",
    "subscription_state",
]


def customer(obj: Json) -> CustomerRow:
    """Read a customer; raises LayoutError."""
    address = obj.get("address")
    address = address if isinstance(address, dict) else {}
    found = _discounts([obj.get("discount")])
    return CustomerRow(
        id=values.id_of(obj),
        created=values.time(obj, "created"),
        name=values.said(obj, "name", 500),
        email=values.said(obj, "email", 512),
        phone=values.said(obj, "phone", 100),
        description=values.said(obj, "description", 10_000),
        country=values.said(address, "country", 2),
        postal_code=values.said(address, "postal_code", 50),
        address={key: value for key, value in address.items() if isinstance(value, str) and value},
        metadata=values.metadata(obj),
        currency=values.currency(obj, required=False),
        delinquent=obj.get("delinquent") is True,
        discounts=found,
        coupons=_coupons_of(found),
    )


def subscription(obj: Json) -> SubscriptionRow:
    """Read a subscription with its items; raises LayoutError (reason `no_customer` when nobody is named to pay)."""
    owner = values.owner(obj)
    state, period_end = _state(obj)
    applied = [obj.get("discount"), *values.items_of(obj.get("discounts"))]
    rated = values.objects(obj.get("default_tax_rates"))
    for item in obj["items"]["data"]:
        applied += values.items_of(item.get("discounts"))
        rated += values.objects(item.get("tax_rates"))
    found = _discounts(applied)
    details = obj.get("cancellation_details")
    return SubscriptionRow(
        id=values.id_of(obj),
        customer=owner,
        created=values.time(obj, "created"),
        state=state,
        collection_method=values.said(obj, "collection_method", 30),
        current_period_end=period_end,
        cancel_at=values.time(obj, "cancel_at"),
        cancel_at_period_end=obj.get("cancel_at_period_end") is True,
        cancellation_comment=values.said(details, "comment", 10_000) if isinstance(details, dict) else "",
        schedule=values.reference(obj, "schedule"),
        metadata=values.metadata(obj),
        discounts=found,
        coupons=_coupons_of(found),
        tax_rates=_tax_rates(rated),
    )


def prices_of(obj: Json) -> dict[str, Json]:
    """Return the prices inside a subscription that could be read, as they are, by id."""
    return {item["price"]["id"]: item["price"] for item in obj["items"]["data"]}


def subscription_state(obj: Json) -> SubscriptionState:
    """Read what the engine needs of a subscription; raises LayoutError."""
    return _state(obj)[0]


def _state(obj: Json) -> tuple[SubscriptionState, int | None]:
    currency = values.currency(obj)
    listed = obj.get("items")
    if not isinstance(listed, dict) or not isinstance(listed.get("data"), list):
        raise LayoutError("A subscription without its list of items.")
    # Before 2025-03-31 the period stood on the subscription, since then on each item.
    old_end = values.time(obj, "current_period_end")
    inclusive_tax = _inclusive_percentage(obj.get("default_tax_rates"))
    items = tuple([_item(item, currency, old_end, inclusive_tax) for item in listed["data"]])
    ends = [item.period_end for item in items if item.period_end is not None]
    period_end = max(ends) if ends else old_end
    ends_at = values.time(obj, "cancel_at")
    if ends_at is None and obj.get("cancel_at_period_end") is True:
        ends_at = period_end
    started_at = values.time(obj, "start_date")
    if started_at is None:
        started_at = values.time(obj, "created", required=True)
    assert started_at is not None
    paused = obj.get("pause_collection")
    details = obj.get("cancellation_details")
    details = details if isinstance(details, dict) else {}
    return SubscriptionState(
        status=values.needed(obj, "status", 30),
        currency=currency,
        items=items,
        started_at=started_at,
        has_all_items=listed.get("has_more") is not True,
        trial_end=values.time(obj, "trial_end"),
        ends_at=ends_at,
        canceled_at=values.time(obj, "canceled_at"),
        ended_at=values.time(obj, "ended_at"),
        pause_behavior=values.said(paused, "behavior", 30) or None if isinstance(paused, dict) else None,
        cancellation_reason=values.said(details, "reason", 50) or None,
        cancellation_feedback=values.said(details, "feedback", 50) or None,
        inclusive_tax=inclusive_tax,
        discounts=_discount_ids(obj),
    ), period_end


def _item(item: Any, currency: str, old_end: int | None, default_tax: str | None) -> Item:
    sold = item.get("price") if isinstance(item, dict) else None
    if not isinstance(sold, dict):
        raise LayoutError("A subscription item without its price.")
    terms = _terms(sold)
    packed = sold.get("transform_quantity")
    packed = packed if isinstance(packed, dict) else {}
    divide_by = values.whole(packed, "divide_by", least=1)
    is_metered = terms.usage_type == "metered"
    period_end = values.time(item, "current_period_end")
    # A price may be sold in a second currency while it goes on naming its first: the subscription's rules, and the
    # amount that travels is the wrong one.
    price_currency = values.said(sold, "currency", 3).lower()
    is_of_another = bool(price_currency) and price_currency != currency
    return Item(
        id=values.id_of(item),
        price=values.id_of(sold),
        product=values.reference(sold, "product"),
        currency=currency,
        quantity=None if is_metered else values.whole(item, "quantity", least=0),
        interval=terms.interval,
        interval_count=terms.interval_count,
        usage_type=terms.usage_type,
        billing_scheme=terms.billing_scheme,
        unit_amount_decimal=None if is_of_another else terms.unit_amount_decimal,
        tiers_mode=values.said(sold, "tiers_mode", 20) or None,
        divide_by=divide_by,
        round=values.said(packed, "round", 10) or None if divide_by else None,
        is_custom=isinstance(sold.get("custom_unit_amount"), dict),
        period_end=period_end if period_end is not None else old_end,
        price_currency=price_currency if is_of_another else None,
        tax_behavior=_tax_behavior(item, sold, default_tax),
        inclusive_tax=_inclusive_percentage(item.get("tax_rates")),
        discounts=_discount_ids(item),
    )


def _tax_behavior(item: Json, sold: Json, default_tax: str | None) -> str | None:
    """`inclusive`, or None: by the price, or by the tax rates that apply (an item's own replace the subscription's)."""
    if sold.get("tax_behavior") == "inclusive":
        return "inclusive"
    own = item.get("tax_rates")
    by_rates = _inclusive_percentage(own) if own else default_tax
    return "inclusive" if by_rates else None


def _inclusive_percentage(rates: Any) -> str | None:
    """The percentages of inclusive tax rates together, as decimal text; None when there is none."""
    if not rates:
        return None
    found = [Decimal(rate.percentage) for rate in _tax_rates(values.objects(rates))]
    return format(sum(found, Decimal(0)), "f") if found else None


def _tax_rates(rates: list[dict[str, Any]]) -> tuple[TaxRateRow, ...]:
    """The inclusive tax rates among those that travel whole, each once."""
    found: dict[str, TaxRateRow] = {}
    for rate in rates:
        percentage = rate.get("percentage")
        if rate.get("inclusive") is True and percentage is not None:
            row = TaxRateRow(values.id_of(rate), values.decimal_text(str(percentage), "percentage"))
            found[row.id] = row
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class _Terms:
    interval: str
    interval_count: int
    usage_type: str
    billing_scheme: str
    unit_amount_decimal: str | None


INTERVALS: Final = frozenset({"day", "week", "month", "year"})


def _terms(sold: Json) -> _Terms:
    recurring = sold.get("recurring")
    if not isinstance(recurring, dict):
        recurring = {}
    interval = values.said(recurring, "interval", 10)
    if interval and interval not in INTERVALS:
        raise LayoutError(f"An interval we do not know: {interval!r}.")
    return _Terms(
        interval,
        values.whole(recurring, "interval_count", least=1, most=values.MOST_SMALL) or 1,
        values.said(recurring, "usage_type", 20) or "licensed",
        values.said(sold, "billing_scheme", 20) or "per_unit",
        _unit_amount(sold),
    )


def _unit_amount(sold: Json) -> str | None:
    """The exact amount as text: `unit_amount_decimal`, else `unit_amount` (older layouts have only that)."""
    exact = sold.get("unit_amount_decimal")
    if isinstance(exact, str) and exact:
        return values.decimal_text(exact, "unit_amount_decimal")
    whole = values.amount(sold, "unit_amount", required=False)
    return None if whole is None else str(whole)


def price(obj: Json) -> PriceRow:
    """Read a price; raises LayoutError."""
    terms = _terms(obj)
    tiers = obj.get("tiers")
    packed = obj.get("transform_quantity")
    return PriceRow(
        id=values.id_of(obj),
        created=values.time(obj, "created"),
        product=values.reference(obj, "product"),
        nickname=values.said(obj, "nickname", 500),
        currency=values.currency(obj),
        unit_amount_decimal=terms.unit_amount_decimal or "",
        interval=terms.interval,
        interval_count=terms.interval_count,
        usage_type=terms.usage_type if terms.interval else "",
        billing_scheme=terms.billing_scheme,
        tiers_mode=values.said(obj, "tiers_mode", 20),
        tiers=tiers if isinstance(tiers, list) else None,
        transform_quantity=packed if isinstance(packed, dict) else None,
        is_active=obj.get("active") is not False,
        currency_options=_currency_options(obj.get("currency_options")),
    )


def _currency_options(options: Any) -> dict[str, dict[str, Any]] | None:
    """What a price costs in each currency: its exact amount (None if it has none) and its tiers, if they travelled."""
    if not isinstance(options, dict):
        return None
    found: dict[str, dict[str, Any]] = {}
    for code, option in _options(options):
        found[code] = {"unit_amount_decimal": _unit_amount(option)}
        if isinstance(option.get("tiers"), list):
            found[code]["tiers"] = option["tiers"]
    return found


def product(obj: Json) -> ProductRow:
    """Read a product; raises LayoutError."""
    return ProductRow(
        values.id_of(obj), values.time(obj, "created"), values.said(obj, "name", 500), obj.get("active") is not False
    )


def invoice(obj: Json) -> InvoiceRow:
    """Read an invoice and the lines that travel with it; raises LayoutError (`no_customer` when nobody is billed)."""
    owner = values.owner(obj)
    listed = obj.get("lines")
    listed = listed if isinstance(listed, dict) else {}
    moved = obj.get("status_transitions")
    moved = moved if isinstance(moved, dict) else {}
    total = values.amount(obj, "total")
    assert total is not None
    lines = values.items_of(listed.get("data"))
    rated = [rate for line in values.objects(lines) for rate in values.objects(line.get("tax_rates"))]
    return InvoiceRow(
        id=values.id_of(obj),
        customer=owner,
        created=values.time(obj, "created"),
        subscription=_invoice_subscription(obj),
        number=values.said(obj, "number", 100),
        status=values.said(obj, "status", 20),
        currency=values.currency(obj),
        billing_reason=values.said(obj, "billing_reason", 60),
        collection_method=values.said(obj, "collection_method", 30),
        amount_due_minor=values.amount_or_0(obj, "amount_due"),
        amount_paid_minor=values.amount_or_0(obj, "amount_paid"),
        amount_remaining_minor=values.amount_or_0(obj, "amount_remaining"),
        subtotal_minor=values.amount_or_0(obj, "subtotal"),
        tax_minor=_taxes(obj, "total_taxes", "total_tax_amounts"),
        total_minor=total,
        attempt_count=values.whole(obj, "attempt_count", least=0, most=values.MOST_SMALL) or 0,
        next_payment_attempt=values.time(obj, "next_payment_attempt"),
        due=values.time(obj, "due_date"),
        finalized=values.time(moved, "finalized_at"),
        paid=values.time(moved, "paid_at"),
        voided=values.time(moved, "voided_at"),
        uncollectible=values.time(moved, "marked_uncollectible_at"),
        has_all_lines=listed.get("has_more") is not True,
        lines=tuple([_line(line) for line in lines]),
        tax_rates=_tax_rates(rated) if rated else (),
    )


def _invoice_subscription(obj: Json) -> str:
    """Since 2025-03-31 under `parent`, before at the top."""
    parent = obj.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, dict) else None
    if isinstance(details, dict):
        return values.reference(details, "subscription")
    return values.reference(obj, "subscription")


def _line(line: Any) -> LineRow:
    if not isinstance(line, dict):
        raise LayoutError("An invoice line that is no object.")
    parent = line.get("parent")
    parent = parent if isinstance(parent, dict) else {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details")
    details = details if isinstance(details, dict) else line  # before 2025-03-31 all stood on the line itself
    pricing = line.get("pricing")
    sold = pricing.get("price_details") if isinstance(pricing, dict) else None
    period = line.get("period")
    period = period if isinstance(period, dict) else {}
    amount = values.amount(line, "amount")
    assert amount is not None
    return LineRow(
        id=values.id_of(line),
        amount_minor=amount,
        discount_minor=sum(values.amount_or_0(part, "amount") for part in values.objects(line.get("discount_amounts"))),
        tax_minor=_taxes(line, "taxes", "tax_amounts"),
        quantity=values.whole(line, "quantity"),
        is_proration=details.get("proration") is True,
        subscription=values.reference(details, "subscription") or values.reference(line, "subscription"),
        subscription_item=values.reference(details, "subscription_item"),
        price=values.reference(sold if isinstance(sold, dict) else line, "price"),
        description=values.said(line, "description", 10_000),
        period_start=values.time(period, "start"),
        period_end=values.time(period, "end"),
        inclusive_taxes=_inclusive_taxes(line),
    )


def _inclusive_taxes(line: Json) -> tuple[dict[str, Any], ...] | None:
    """The taxes inside a line's amount: `amount` and `taxable` in minor units (None if not told), `rate` the rate's id.

    `taxes` since 2025-03-31, `tax_amounts` before; None when there is neither.
    """
    listed = line.get("taxes")
    if not isinstance(listed, list):
        listed = line.get("tax_amounts")
    if not isinstance(listed, list):
        return None
    found = []
    for part in values.objects(listed):
        if part.get("tax_behavior") == "inclusive" or part.get("inclusive") is True:
            details = part.get("tax_rate_details")
            found.append(
                {
                    "amount": values.amount_or_0(part, "amount"),
                    "taxable": values.amount(part, "taxable_amount", required=False),
                    "rate": values.reference(details if isinstance(details, dict) else part, "tax_rate"),
                }
            )
    return tuple(found)


def _taxes(obj: Json, newest: str, older: str) -> int:
    """The sum of the taxes; the oldest layouts have one figure, `tax`."""
    listed = obj.get(newest)
    if not isinstance(listed, list):
        listed = obj.get(older)
    if isinstance(listed, list):
        return sum(values.amount_or_0(part, "amount") for part in values.objects(listed))
    return values.amount_or_0(obj, "tax")


def charge(obj: Json) -> ChargeRow:
    """Read a charge; raises LayoutError."""
    paid_with = obj.get("payment_method_details")
    card = paid_with.get("card") if isinstance(paid_with, dict) else None
    amount = values.amount(obj, "amount")
    assert amount is not None
    return ChargeRow(
        id=values.id_of(obj),
        customer=values.reference(obj, "customer"),
        created=values.time(obj, "created"),
        invoice=values.reference(obj, "invoice"),
        payment_intent=values.reference(obj, "payment_intent"),
        status=values.said(obj, "status", 20),
        currency=values.currency(obj),
        amount_minor=amount,
        refunded_minor=values.amount_or_0(obj, "amount_refunded"),
        is_disputed=obj.get("disputed") is True,
        failure_code=values.said(obj, "failure_code", 100),
        card_expires=_expiry(card) if isinstance(card, dict) else None,
    )


def _expiry(card: Json) -> tuple[int, int] | None:
    year, month = card.get("exp_year"), card.get("exp_month")
    if type(year) is int and type(month) is int and 1900 < year < 9999 and 1 <= month <= 12:
        return year, month
    return None


def refund(obj: Json) -> RefundRow:
    """Read a refund; raises LayoutError."""
    amount = values.amount(obj, "amount")
    assert amount is not None
    return RefundRow(
        values.id_of(obj),
        values.time(obj, "created"),
        values.reference(obj, "charge"),
        values.said(obj, "status", 20),
        values.said(obj, "reason", 50),
        values.currency(obj),
        amount,
    )


def dispute(obj: Json) -> DisputeRow:
    """Read a dispute, which names a charge and never a customer; raises LayoutError."""
    details = obj.get("evidence_details")
    amount = values.amount(obj, "amount")
    assert amount is not None
    return DisputeRow(
        values.id_of(obj),
        values.time(obj, "created"),
        values.reference(obj, "charge"),
        values.needed(obj, "status", 40),
        values.said(obj, "reason", 60),
        values.currency(obj),
        amount,
        values.time(details, "due_by") if isinstance(details, dict) else None,
    )


def payout(obj: Json) -> PayoutRow:
    """Read a payout; raises LayoutError."""
    amount = values.amount(obj, "amount")
    assert amount is not None
    return PayoutRow(
        values.id_of(obj),
        values.time(obj, "created"),
        values.said(obj, "status", 20),
        values.currency(obj),
        amount,
        values.time(obj, "arrival_date"),
    )


def coupon(obj: Json) -> CouponRow:
    """Read a coupon; raises LayoutError."""
    limited = obj.get("applies_to")
    products = limited.get("products") if isinstance(limited, dict) else None
    percent = obj.get("percent_off")
    return CouponRow(
        id=values.id_of(obj),
        created=values.time(obj, "created"),
        name=values.said(obj, "name", 500),
        percent_off="" if percent is None else values.decimal_text(str(percent), "percent_off"),
        amount_off_minor=values.amount(obj, "amount_off", required=False),
        currency=values.currency(obj, required=False),
        duration=values.said(obj, "duration", 20),
        duration_in_months=values.whole(obj, "duration_in_months", least=0, most=values.MOST_SMALL),
        applies_to=[entry for entry in products if isinstance(entry, str)] if isinstance(products, list) else None,
        is_valid=obj.get("valid") is not False,
        currency_options=_amounts_off(obj.get("currency_options")),
    )


def _amounts_off(options: Any) -> dict[str, int] | None:
    """What a coupon takes off in other currencies, in minor units; None when that did not travel."""
    if not isinstance(options, dict):
        return None
    found = {code: values.amount(option, "amount_off", required=False) for code, option in _options(options)}
    return {code: amount for code, amount in found.items() if amount is not None}


def _options(options: Json) -> list[tuple[str, dict[str, Any]]]:
    return [(code.lower(), option) for code, option in sorted(options.items()) if isinstance(option, dict)]


def schedule(obj: Json) -> ScheduleRow:
    """Read a subscription schedule; raises LayoutError. Its phases are plain JSON, as ScheduleRow says."""
    phases = values.objects(obj.get("phases"))
    currencies = [values.currency(phase, required=False) for phase in phases]
    sold = [item.get("price") for phase in phases for item in _phase_items(phase)]
    return ScheduleRow(
        id=values.id_of(obj),
        customer=values.owner(obj),
        created=values.time(obj, "created"),
        subscription=values.reference(obj, "subscription"),
        status=values.said(obj, "status", 20),
        currency=next((code for code in currencies if code), ""),
        end_behavior=values.said(obj, "end_behavior", 20) or "release",
        phases=[_phase(phase) for phase in phases],
        coupons=tuple([coupon(whole) for phase in phases for whole in _whole_coupons(phase)]),
        prices=tuple([price for price in sold if isinstance(price, dict)]),
    )


def _phase(phase: Json) -> dict[str, Any]:
    start = values.time(phase, "start_date", required=True)
    end = values.time(phase, "end_date")
    trial_end = end if phase.get("trial") is True else values.time(phase, "trial_end")
    return {
        "start": start,
        "end": end,
        "trial_end": trial_end if trial_end is not None and start is not None and trial_end > start else None,
        "discounts": _planned_discounts(phase),
        "items": [
            {
                "price": values.reference(item, "price") or values.reference(item, "plan"),
                "quantity": values.whole(item, "quantity", least=0),
                "discounts": _planned_discounts(item),
            }
            for item in _phase_items(phase)
        ],
    }


def _phase_items(phase: Json) -> list[dict[str, Any]]:
    return values.objects(phase.get("items"))


def _planned_discounts(holder: Json) -> list[str]:
    """Ids of discounts that stand already, `coupon:` and the coupon's id of those that will be made of one."""
    listed = values.objects(holder.get("discounts")) or [{"coupon": holder.get("coupon")}]
    found = []
    for entry in listed:
        name, made_of = values.reference(entry, "discount"), values.reference(entry, "coupon")
        if name or made_of:
            found.append(name or f"coupon:{made_of}")
    return found


def _whole_coupons(phase: Json) -> list[dict[str, Any]]:
    holders = [phase, *_phase_items(phase)]
    entries = [entry for holder in holders for entry in [holder, *values.objects(holder.get("discounts"))]]
    return [entry["coupon"] for entry in entries if isinstance(entry.get("coupon"), dict)]


def discount(obj: Json) -> DiscountRow:
    """Read a discount; raises LayoutError. Since clover the coupon stands under `source`."""
    source = obj.get("source")
    holder = source if isinstance(source, dict) and source.get("coupon") else obj
    whole = holder.get("coupon")
    return DiscountRow(
        id=values.id_of(obj),
        customer=values.reference(obj, "customer"),
        subscription=values.reference(obj, "subscription"),
        coupon=values.reference(holder, "coupon"),
        start=values.time(obj, "start"),
        end=values.time(obj, "end"),
        coupons=(coupon(whole),) if isinstance(whole, dict) else (),
        is_of_customer=not any(
            obj.get(key) for key in ("subscription", "subscription_item", "invoice", "invoice_item")
        ),
    )


SMALLER_THAN_A_CUSTOMER: Final = ("subscription", "subscription_item", "invoice", "invoice_item")


def before(obj: Json, previous: Json) -> dict[str, Any]:
    """Return the object as it was before an update: `previous_attributes` put back.

    Hashes are merged key by key, arrays and plain values replaced whole, as Stripe sends them.
    """
    merged = dict(obj)
    for key, value in previous.items():
        now = merged.get(key)
        merged[key] = before(now, value) if isinstance(now, dict) and isinstance(value, dict) else value
    return merged


def _discount_ids(obj: Json) -> tuple[str, ...]:
    """Ids in `discounts`, given as text or whole; before 2024 one whole `discount`."""
    listed = obj.get("discounts")
    if not isinstance(listed, list):
        listed = [obj["discount"]] if isinstance(obj.get("discount"), dict) else []
    if not listed:
        return ()
    return tuple([values.reference({"discount": entry}, "discount") for entry in listed])


def _discounts(applied: list[Any]) -> tuple[DiscountRow, ...]:
    """The discounts that travel whole, each once."""
    found: dict[str, DiscountRow] = {}
    for entry in applied:
        if isinstance(entry, dict):
            row = discount(entry)
            found[row.id] = row
    return tuple(found.values())


def _coupons_of(discounts: tuple[DiscountRow, ...]) -> tuple[CouponRow, ...]:
    return tuple([whole for row in discounts for whole in row.coupons])
