"""The names Salesforce knows our values by: the one place where an object or field is spelt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MRR_SCHEDULE: Final = "MRR_Schedule__c"
ACCOUNT: Final = "Account"
OPPORTUNITY: Final = "Opportunity"

LEDGER_KEY: Final = "Ledger_Key__c"
SUBSCRIPTION_ID: Final = "Stripe_Subscription_Id__c"


@dataclass(frozen=True, slots=True)
class Needed:
    """A field we write: its type as `describe` tells it, and whether it is a unique External ID."""

    sobject: str
    name: str
    types: tuple[str, ...]
    length: int = 0
    scale: int = 0
    is_key: bool = False


_TEXT = ("string", "textarea", "picklist", "url")
_NUMBER = ("double", "currency")


def _text(sobject: str, *names: str, length: int = 0) -> list[Needed]:
    return [Needed(sobject, name, _TEXT, length=length) for name in names]


def _number(sobject: str, *names: str, scale: int) -> list[Needed]:
    return [Needed(sobject, name, _NUMBER, scale=scale) for name in names]


def _of(sobject: str, kind: str, *names: str) -> list[Needed]:
    return [Needed(sobject, name, (kind,)) for name in names]


NEEDED: tuple[Needed, ...] = (
    Needed(MRR_SCHEDULE, LEDGER_KEY, ("string",), length=40, is_key=True),
    *_of(MRR_SCHEDULE, "reference", "Account__c", "Opportunity__c"),
    *_text(MRR_SCHEDULE, "Type__c", "Reason__c", "Currency__c", "Source_Label__c", "Reverses__c"),
    *_text(MRR_SCHEDULE, "Stripe_Customer_Id__c", "Stripe_Subscription_Id__c", "Stripe_Event_Id__c", length=255),
    *_text(MRR_SCHEDULE, "Detail_Url__c", length=255),
    *_number(MRR_SCHEDULE, "MRR_Delta__c", "MRR_After__c", scale=6),
    *_number(MRR_SCHEDULE, "ARR_Delta__c", scale=2),
    *_number(MRR_SCHEDULE, "Policy_Version__c", scale=0),
    *_of(MRR_SCHEDULE, "date", "Start_Date__c"),
    *_of(MRR_SCHEDULE, "datetime", "Effective_At__c", "Posted_At__c"),
    *_number(ACCOUNT, "MRR__c", "CMRR__c", scale=6),
    *_number(ACCOUNT, "ARR__c", "Last_Payment_Amount__c", "Past_Due_Amount__c", scale=2),
    *_number(ACCOUNT, "Churn_Risk_Score__c", "Ledger_Version__c", scale=0),
    *_text(ACCOUNT, "Billing_Status__c", "Payment_Risk__c", "Churn_Risk_Reasons__c", "Stripe_Customer_Ids__c"),
    *_of(ACCOUNT, "boolean", "In_Dispute__c"),
    *_of(ACCOUNT, "date", "Last_Expansion_Date__c", "Last_Contraction_Date__c", "Last_Payment_Date__c"),
    *_of(ACCOUNT, "date", "Next_Invoice_Date__c"),
    Needed(OPPORTUNITY, SUBSCRIPTION_ID, ("string",), length=255, is_key=True),
    *_number(OPPORTUNITY, "Committed_ARR__c", scale=2),
    *_of(OPPORTUNITY, "currency", "Amount"),
    *_of(OPPORTUNITY, "picklist", "StageName"),
    *_of(OPPORTUNITY, "date", "CloseDate"),
)
