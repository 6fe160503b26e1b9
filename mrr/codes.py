"""What the codes mean that say why MRR lacks something, or why a month cannot be closed: title, cause, cure. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Help = Mapping[str, tuple[str, str, str]]

# What a total lacks
GAPS: Final[Help] = {
    "unpriced_items": (
        "Items without a known price",
        "The price of a subscription item is not in the events (tiers, another currency), so it counts as nothing.",
        "Give the source an API key that reads prices; they are then fetched by themselves. "
        "The customer's page names the item.",
    ),
    "subscriptions_unknown": (
        "Subscriptions known by invoices alone",
        "An invoice names a subscription whose own events we never got, so its MRR is not in the figures.",
        "Give the source an API key that reads subscriptions, or run a backfill.",
    ),
    "events_waiting": (
        "Events wait",
        "Events are received and not processed yet; the figures are those of before.",
        "Wait: a backlog drains by itself. If the oldest grows older, see whether the workers run.",
    ),
    "events_parked": (
        "Events are parked",
        "Some events could not be worked on and are not in the figures.",
        "Open Stripe events, parked: each names its reason. Mend it and process them again.",
    ),
    "rate_missing": (
        "No exchange rate",
        "A currency has no rate of the day or the seven days before it, so it is left out of the converted total.",
        "Import rates: import_rates --ecb, or a file of your own.",
    ),
}

# What one item's worth lacks, or what is odd about it
ITEMS: Final[Help] = {
    "tiers_unknown": (
        "Tiers not known yet",
        "The price has tiers, and events do not carry them.",
        "Nothing to do with an API key: they are fetched once. Without one, give the source a key that reads prices.",
    ),
    "currency_option_unknown": (
        "Price in this currency not known yet",
        "The subscription is in another currency than its price, and events do not carry the price's other currencies.",
        "Give the source an API key that reads prices; it is then fetched once.",
    ),
    "planned_price_unknown": (
        "A planned price is not known yet",
        "A schedule names a price that no event has told of; committed MRR leaves it out.",
        "Give the source an API key that reads prices; it is then fetched once.",
    ),
    "discount_unknown": (
        "A discount is not known yet",
        "The subscription names a discount whose coupon we have not seen, so the item counts as nothing until then.",
        "Give the source an API key that reads coupons and subscriptions; it is then fetched once.",
    ),
    "items_missing": (
        "A list of items cut short",
        "The subscription has more items than Stripe puts into an event.",
        "Give the source an API key that reads subscriptions; the rest is then fetched.",
    ),
    "tax_unknown": (
        "Tax inside the price is not known",
        "The price includes tax and nothing tells the rate, so the amount is counted with the tax in it.",
        "Set the tax rate on the subscription in Stripe, or use prices without tax.",
    ),
    "metered": (
        "Billed by use",
        "What is billed by use is no promise, so it is not MRR.",
        "Nothing to do. Usage is shown beside MRR, never in it.",
    ),
    "custom_amount": (
        "The customer chooses the amount",
        "The price lets customers enter an amount, so nothing is promised and it counts 0.",
        "Give the subscription a price with an amount if it is a real subscription.",
    ),
    "no_amount": (
        "The price has no amount",
        "Neither the price nor its tiers name an amount, so it counts 0.",
        "Look at the price in Stripe and give the subscription one with an amount.",
    ),
}

# Why a month is not closed or reopened
BOOKS: Final[Help] = {
    "role": (
        "Not for your role",
        "Only finance and admin close and reopen months.",
        "Ask somebody of the role finance.",
    ),
    "not_over": ("The month has not ended", "A month is closed after its last day.", "Wait for its end."),
    "grouping": (
        "The month's last hour may still change",
        "What happened at the very end of the month may still be joined by what follows it.",
        "Try again after the time that the message names.",
    ),
    "closed": ("Closed already", "The month is closed.", "Nothing to do. To change it, ask to reopen it."),
    "order": (
        "Months are closed in order",
        "An earlier month is still open.",
        "Close the month that the message names first.",
    ),
    "empty": ("Before the ledger begins", "There is nothing in this month.", "Close from the first month on."),
    "waiting": (
        "Events still wait",
        "Some events are received and not processed, and may belong to the month.",
        "Wait a minute, or run drain; process or look at what stays.",
    ),
    "clock": (
        "Changes by the clock are not posted",
        "A discount ended or a cutoff passed, and its entry is not posted yet.",
        "Wait a minute, or run drain.",
    ),
    "changed": (
        "Something was booked since you looked",
        "Entries were booked in the month after the page with its hash was made, so that is no longer what you saw.",
        "Look at the month again and sign what it shows now.",
    ),
    "answered": (
        "Somebody was first",
        "The request to reopen was made, answered or withdrawn by a close after your page was made.",
        "Look at the month again; its page says how the request stands.",
    ),
    "not_last": (
        "Not the last closed month",
        "Months are reopened backwards, the last closed one first.",
        "Reopen the month that the message names first.",
    ),
    "no_reason": ("No reason given", "Reopening a month needs a reason for the record.", "Say why with --reason."),
    "code": (
        "The one-time code is not right",
        "It must be the code that another admin's authenticator shows now.",
        "Ask that person for a fresh code.",
    ),
    "second_person": (
        "Somebody else must agree",
        "Who asks to reopen a month does not grant it.",
        "Another person of the role finance or admin makes the same call.",
    ),
    "notice": (
        "Alone only after a day's notice",
        "Nobody else is in finance, so the request stands on every page for a day before it may be granted alone.",
        "Have an admin make the same call or give a one-time code, or call again after the time named.",
    ),
}

# Where our figures differ from others' without anything being broken
DIFFERENCES: Final[Help] = {
    "annual_counted_monthly": (
        "Annual counted monthly",
        "The other report takes a yearly amount as one month's: a yearly invoice counted whole in the month it was "
        "paid, or a yearly price read as a monthly one. It then shows up to twelve times our MRR for that customer.",
        "Compare one such customer: $1,200 a year is $100.00 of MRR here. Divide yearly amounts by twelve there, or "
        "compare with ARR. If Stripe itself bills a yearly amount every month, correct the price's interval in Stripe.",
    ),
    "duplicate_updates": (
        "Duplicate updates",
        "Stripe delivers some events twice and in any order, and Salesforce may be told the same value twice. Here an "
        "event is kept once, and a record is written by its External ID, so neither makes a second entry or record.",
        "Nothing to do for duplicates counted on the health page. If Salesforce shows two records for one thing, its "
        "External ID field is not unique: run setup_salesforce --check, and switch off any other program that writes "
        "the same fields.",
    ),
}

CODES: Final[Help] = {**GAPS, **ITEMS, **BOOKS, **DIFFERENCES}
