"""The names Salesforce knows our values by, and how their fields are made: the one place where a field is spelt. Pure.

What `NEEDED` says is what set-up compares an org with, what a deployment makes, and what lies in `package/` as source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MRR_SCHEDULE: Final = "MRR_Schedule__c"
ACCOUNT: Final = "Account"
OPPORTUNITY: Final = "Opportunity"
TASK: Final = "Task"
ACTIVITY: Final = "Activity"  # where a Task's own fields are made

LEDGER_KEY: Final = "Ledger_Key__c"
SUBSCRIPTION_ID: Final = "Stripe_Subscription_Id__c"
MESSAGE_KEY: Final = "Message_Key__c"
CURRENCY: Final = "CurrencyIsoCode"  # there in orgs that have several currencies

PAYMENT_RISKS: Final = ("none", "low", "medium", "high")
MOVEMENTS: Final = ("opening", "new", "expansion", "contraction", "churn", "reactivation", "reversal")
STATUSES: Final = (
    "past_due", "active", "trialing", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Needed:
    """A field we write: its types as `describe` tells them, the least it must hold, and how a deployment makes it.

    `made_as` is the metadata's type, empty for a field that Salesforce brings. `length` and `scale` are the least that
    keeps our values whole; `made_length` is what a new field gets. `values` are those we write where they are a list.
    """

    sobject: str
    name: str
    types: tuple[str, ...]
    length: int = 0
    scale: int = 0
    is_key: bool = False
    is_required: bool = False
    made_as: str = ""
    made_length: int = 0
    made_precision: int = 18
    label: str = ""
    about: str = ""
    to: str = ""
    values: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        return bool(self.made_as)


_TEXT = ("string", "textarea", "picklist", "url")
_NUMBER = ("double", "currency")


def _label(name: str) -> str:
    return name.removesuffix("__c").replace("_", " ")


def _text(
    sobject: str, name: str, about: str, *, made: int = 255, length: int = 0, values: tuple[str, ...] = ()
) -> Needed:
    return Needed(
        sobject,
        name,
        _TEXT,
        length=length,
        made_as="Text",
        made_length=made,
        label=_label(name),
        about=about,
        values=values,
    )


def _long_text(sobject: str, name: str, about: str) -> Needed:
    return Needed(sobject, name, _TEXT, made_as="LongTextArea", made_length=32768, label=_label(name), about=about)


def _key(sobject: str, name: str, about: str, *, is_required: bool = False, length: int = 255) -> Needed:
    return Needed(
        sobject,
        name,
        ("string",),
        length=length,
        is_key=True,
        is_required=is_required,
        made_as="Text",
        made_length=255,
        label=_label(name),
        about=about,
    )


def _number(sobject: str, name: str, about: str, *, scale: int, precision: int = 18) -> Needed:
    return Needed(
        sobject,
        name,
        _NUMBER,
        scale=scale,
        made_as="Number",
        made_precision=precision,
        label=_label(name),
        about=about,
    )


def _plain(sobject: str, name: str, made_as: str, about: str) -> Needed:
    kind = {"Date": "date", "DateTime": "datetime", "Checkbox": "boolean"}[made_as]
    return Needed(sobject, name, (kind,), made_as=made_as, label=_label(name), about=about)


def _reference(sobject: str, name: str, to: str, about: str) -> Needed:
    return Needed(sobject, name, ("reference",), made_as="Lookup", to=to, label=_label(name), about=about)


NEEDED: tuple[Needed, ...] = (
    _key(MRR_SCHEDULE, LEDGER_KEY, "Key of the ledger entry; writes go by it.", is_required=True, length=40),
    _reference(MRR_SCHEDULE, "Account__c", ACCOUNT, "The Account whose MRR moved."),
    _reference(MRR_SCHEDULE, "Opportunity__c", OPPORTUNITY, "The Opportunity of the subscription."),
    _text(MRR_SCHEDULE, "Type__c", "new, expansion, contraction, churn or reactivation.", made=40, values=MOVEMENTS),
    _text(MRR_SCHEDULE, "Reason__c", "Why MRR moved.", made=80),
    _text(MRR_SCHEDULE, "Currency__c", "Currency of the amounts, as ISO 4217 writes it.", made=3),
    _text(MRR_SCHEDULE, "Source_Label__c", "The Stripe account it comes from."),
    _text(MRR_SCHEDULE, "Reverses__c", "Key of the entry that this one takes back."),
    _text(MRR_SCHEDULE, "Stripe_Customer_Id__c", "Stripe's id of the customer.", length=255),
    _text(MRR_SCHEDULE, SUBSCRIPTION_ID, "Stripe's id of the subscription.", length=255),
    _text(MRR_SCHEDULE, "Stripe_Event_Id__c", "Stripe's id of the event that caused it.", length=255),
    Needed(
        MRR_SCHEDULE,
        "Detail_Url__c",
        _TEXT,
        length=255,
        made_as="Url",
        label="Detail Url",
        about="Opens the customer where every figure can be traced to its events.",
    ),
    _number(MRR_SCHEDULE, "MRR_Delta__c", "What the movement added to MRR, or took.", scale=6),
    _number(MRR_SCHEDULE, "MRR_After__c", "The customer's MRR after it, in this currency.", scale=6),
    _number(MRR_SCHEDULE, "ARR_Delta__c", "What the movement added to ARR, or took.", scale=2),
    _number(MRR_SCHEDULE, "Policy_Version__c", "The metric policy it was worked out under.", scale=0),
    _plain(MRR_SCHEDULE, "Start_Date__c", "Date", "The day it was true from, in the reporting time zone."),
    _plain(MRR_SCHEDULE, "Effective_At__c", "DateTime", "When it was true from."),
    _plain(MRR_SCHEDULE, "Posted_At__c", "DateTime", "When the ledger learnt of it."),
    _number(ACCOUNT, "MRR__c", "Monthly recurring revenue in the reporting currency, all its customers.", scale=6),
    _number(ACCOUNT, "CMRR__c", "MRR with the changes already agreed for later.", scale=6),
    _number(ACCOUNT, "ARR__c", "Twelve times MRR.", scale=2),
    _number(ACCOUNT, "Last_Payment_Amount__c", "Amount of the last payment.", scale=2),
    _number(ACCOUNT, "Past_Due_Amount__c", "What is past due today.", scale=2),
    _number(ACCOUNT, "Churn_Risk_Score__c", "0 (none) to 100.", scale=0, precision=3),
    _number(ACCOUNT, "Ledger_Version__c", "The newest ledger entry these figures hold.", scale=0),
    _text(
        ACCOUNT,
        "Billing_Status__c",
        "The most urgent status of its subscriptions, by Stripe's name.",
        made=80,
        values=STATUSES,
    ),
    Needed(
        ACCOUNT,
        "Payment_Risk__c",
        _TEXT,
        made_as="Picklist",
        label="Payment Risk",
        about="How much its payments are at risk.",
        values=PAYMENT_RISKS,
    ),
    _long_text(ACCOUNT, "Churn_Risk_Reasons__c", "What the score is made of, with the points of each."),
    _long_text(ACCOUNT, "Stripe_Customer_Ids__c", "Stripe's ids of its customers."),
    _plain(ACCOUNT, "In_Dispute__c", "Checkbox", "A payment is disputed now."),
    _plain(ACCOUNT, "Last_Expansion_Date__c", "Date", "When MRR last rose."),
    _plain(ACCOUNT, "Last_Contraction_Date__c", "Date", "When MRR last fell."),
    _plain(ACCOUNT, "Last_Payment_Date__c", "Date", "When it last paid."),
    _plain(ACCOUNT, "Next_Invoice_Date__c", "Date", "When the next invoice is due to be made."),
    _key(OPPORTUNITY, SUBSCRIPTION_ID, "Stripe's id of the subscription this Opportunity sold."),
    _number(OPPORTUNITY, "Committed_ARR__c", "ARR of the subscription today; the booked Amount stands still.", scale=2),
    Needed(OPPORTUNITY, "Amount", ("currency",)),
    Needed(OPPORTUNITY, "StageName", ("picklist",)),
    Needed(OPPORTUNITY, "CloseDate", ("date",)),
    _key(TASK, MESSAGE_KEY, "Key of the message; the same one is never told twice."),
)

BY_NAME: dict[tuple[str, str], Needed] = {(one.sobject, one.name): one for one in NEEDED}
OBJECTS: tuple[str, ...] = tuple(dict.fromkeys(one.sobject for one in NEEDED))
