"""Salesforce's refusals: which of our four kinds each is, why it happens, and what cures it where. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crm.channels.kinds import ChannelError, Permanent, Transient, Unclear, Wait

LIMIT_PAUSE = timedelta(minutes=15)
OUTAGE_PAUSE = timedelta(minutes=2)

DEAD_SESSION = "INVALID_SESSION_ID"
LOCKED = "UNABLE_TO_LOCK_ROW"
TWINS = "DUPLICATE_EXTERNAL_ID"
TRANSIENT = frozenset(
    f"{LOCKED} SERVER_UNAVAILABLE UNKNOWN_EXCEPTION QUERY_TIMEOUT PROCESSING_HALTED "
    "ALL_OR_NONE_OPERATION_ROLLED_BACK REQUEST_RUNNING_TOO_LONG CONCURRENT_REQUEST_LIMIT_EXCEEDED "
    # With a unique key the loser of two upserts at once gets DUPLICATE_VALUE, and finds the record the next time.
    "DUPLICATE_VALUE INVALID_SESSION_ID".split()
)
WAITS = frozenset({"REQUEST_LIMIT_EXCEEDED", "API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"})
# The record itself, or one it points at, may be gone: the Account is looked for before anybody is troubled.
GONE = frozenset({"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"})

_EMAIL = re.compile(r"[^\s'\"<>]+@[^\s'\"<>]+")
_TOKEN = re.compile(r"00D[A-Za-z0-9]{12,15}![^\s'\"]+|Bearer\s+\S+|(?:access|refresh)_token=\S+")
_QUERY = re.compile(r"\bSELECT\b.*?(?=ERROR at|$)", re.IGNORECASE | re.DOTALL)
_ID = re.compile(r"\b[a-zA-Z0-9]{15}(?:[a-zA-Z0-9]{3})?\b")


def failure(code: str, message: str, fields: tuple[str, ...] = (), *, now: datetime) -> ChannelError:
    """Return a refusal, by Salesforce's own code, as one of the four kinds; codes we do not know are permanent."""
    text = scrubbed(message)
    if code in WAITS:
        return Wait(code, text, until=now + LIMIT_PAUSE)
    if code in TRANSIENT:
        return Transient(code, text, fields=fields)
    return Permanent(code, text, fields=fields)


def from_answer(status: int, content: Any, *, is_write: bool, now: datetime) -> ChannelError:
    """Return what a refused call says: `content` is its body, parsed or as text. Pages for people carry no code."""
    first = _first_error(content)
    if first is not None:
        code, message, fields = first
        if status >= 500 and code not in TRANSIENT:
            return Transient(code, scrubbed(message))
        return failure(code, message, fields, now=now)
    if status == 300:
        return _twins(content)
    if status in (502, 504) and is_write:
        return Unclear(f"HTTP_{status}", "A gateway gave up while Salesforce may still have been writing.")
    if status >= 500:
        return Transient(f"HTTP_{status}", "Salesforce answered with a page for people, as in maintenance.")
    if status in (301, 302, 303, 307, 308):
        return Permanent(f"HTTP_{status}", "Salesforce sends us to another address. Check the instance URL.")
    return Permanent(f"HTTP_{status}", "Salesforce refused without saying why.")


def rows_error(errors: Any, *, now: datetime) -> ChannelError:
    """Return the refusal of one record of a collection or of one part of a composite request."""
    first = _first_error(errors)
    if first is None:
        return Unclear("UNREADABLE_ANSWER", "Salesforce's answer about this record cannot be read.")
    return failure(*first, now=now)


def bulk_error(said: str, *, now: datetime) -> ChannelError:
    """Return the refusal of one row of a Bulk job, which is written CODE:message:FIELDS --."""
    code, _, rest = said.partition(":")
    message, _, names = rest.rpartition(":")
    fields = tuple(name for name in names.replace("--", "").strip().split(",") if name)
    if not re.fullmatch(r"[A-Z][A-Z0-9_]+", code):
        return Permanent("BULK_ROW_FAILED", scrubbed(said) or "The row failed without a reason.")
    return failure(code, message or rest, fields, now=now)


def scrubbed(text: str) -> str:
    """Return a message without tokens, e-mail addresses and query text, on one line and not too long."""
    text = _TOKEN.sub("[hidden]", str(text))
    text = _QUERY.sub("[query] ", text)
    text = _EMAIL.sub("[e-mail]", text)
    return " ".join(text.split())[:500]


def _twins(content: Any) -> ChannelError:
    found = ", ".join(dict.fromkeys(_ID.findall(" ".join(str(one) for one in _parsed(content) or ()))))
    return Permanent(TWINS, f"The External ID stands on several records: {found or 'Salesforce did not say which'}.")


def _parsed(content: Any) -> list[Any] | None:
    if isinstance(content, bytes):
        content = content.decode("utf-8", "replace")
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError:
            return None
    if isinstance(content, Mapping):
        content = [content]
    return content if isinstance(content, list) else None


def _first_error(content: Any) -> tuple[str, str, tuple[str, ...]] | None:
    parsed = _parsed(content) or []
    found = [one for one in parsed if isinstance(one, Mapping) and (one.get("errorCode") or one.get("statusCode"))]
    if not found:
        return None
    # With allOrNone one part carries the cause and the others only say that they were halted.
    cause = next((one for one in found if one.get("errorCode") != "PROCESSING_HALTED"), found[0])
    fields = cause.get("fields") or ()
    code = str(cause.get("errorCode") or cause.get("statusCode"))
    return code, str(cause.get("message") or code), tuple(str(name) for name in fields)


# ---- what people are told ----


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a code is answered and what cures it; `path` is the page in Setup, `{sobject}` filled in."""

    why: str
    fix: str
    where: str = ""
    path: str = ""
    heals: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """One refusal in plain words: `fields` and `rule` name what refused, `where` and `path` the place in Setup.

    `heals` says that it is tried again by itself and nobody need do anything.
    """

    code: str
    why: str
    fix: str
    where: str = ""
    path: str = ""
    fields: tuple[str, ...] = ()
    rule: str = ""
    heals: bool = False


def explain(code: str, message: str, *, sobject: str = "", fields: tuple[str, ...] = ()) -> Explanation:
    """Return why Salesforce answered a code, what it concerns, and what a person can do about it and where."""
    named = fields or _fields_in(code, message)
    cause = CURRENCY if _is_about_currency(code, message, named) else CAUSES.get(code) or _by_family(code)
    return Explanation(
        code=code,
        why=cause.why,
        fix=cause.fix.format(fields=" and ".join(named) or "the field", sobject=sobject or "the object"),
        where=cause.where.format(sobject=sobject or "the object"),
        path=cause.path.format(sobject=sobject) if sobject or "{sobject}" not in cause.path else "",
        fields=named,
        rule=message if code in RULES else "",
        heals=cause.heals,
    )


def _by_family(code: str) -> Cause:
    if code.startswith("HTTP_5"):
        return CAUSES["SERVER_UNAVAILABLE"]
    if code.startswith("HTTP_3"):
        return CAUSES["other_host"]
    return Cause(
        "Salesforce refused the record with a code that we have no advice for; its own words stand beside it.",
        "Read Salesforce's words, change what they name, then retry.",
    )


def _is_about_currency(code: str, message: str, fields: tuple[str, ...]) -> bool:
    """Say whether the currency was refused; that it cannot be seen or written is told as of any other field."""
    return code == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST" and (
        "CurrencyIsoCode" in fields or "CurrencyIsoCode" in message
    )


def _fields_in(code: str, message: str) -> tuple[str, ...]:
    """Find the fields a message names where the answer itself lists none."""
    column = re.search(r"No such column '([^']+)'", message)
    if column:
        return (column[1],)
    listed = re.search(r"\[([A-Za-z0-9_, ]+)\]", message)
    if listed and code == "REQUIRED_FIELD_MISSING":
        return tuple(name.strip() for name in listed[1].split(",") if name.strip())
    known = re.search(r"\b([A-Za-z][A-Za-z0-9_]*__c)\b", message)
    if known:
        return (known[1],)
    label = re.match(r"([A-Z][A-Za-z0-9 _/]{1,60}):", message)
    return (label[1],) if label and code in LABELLED else ()


RULES = frozenset({"FIELD_CUSTOM_VALIDATION_EXCEPTION", "DUPLICATES_DETECTED", "FIELD_FILTER_VALIDATION_EXCEPTION"})
LABELLED = frozenset(
    "STRING_TOO_LONG INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST NUMBER_OUTSIDE_VALID_RANGE MALFORMED_ID "
    "INVALID_TYPE_ON_FIELD_IN_RECORD FIELD_INTEGRITY_EXCEPTION".split()
)

_FIELDS = (
    "Setup > Object Manager > {sobject} > Fields & Relationships",
    "ObjectManager/{sobject}/FieldsAndRelationships/view",
)
_RULES = ("Setup > Object Manager > {sobject} > Validation Rules", "ObjectManager/{sobject}/ValidationRules/view")
_PERMISSIONS = ("Setup > Permission Sets > MRR Ledger writer > Object Settings", "PermSets/home")
_DUPLICATES = ("Setup > Duplicate Rules", "DuplicateRules/home")
_USAGE = ("Setup > Company Information > API Requests, Last 24 Hours", "CompanyProfileInfo/home")
_OWN = "Salesforce sync settings of this product"

CURRENCY = Cause(
    "The org has not activated the currency that the amounts are in.",
    "Activate it under Manage Currencies, with its conversion rate; then retry.",
    "Setup > Manage Currencies",
    "CompanyCurrency/home",
)

CAUSES: dict[str, Cause] = {
    # Tried again by themselves
    LOCKED: Cause(
        "Somebody else was saving this Account, or a record under it, at the same moment.",
        "Nothing to do: it is tried again, one Account at a time. If it stays, look for a nightly import on {sobject}.",
        heals=True,
    ),
    "SERVER_UNAVAILABLE": Cause(
        "Salesforce was not available: maintenance or an outage.",
        "Nothing to do: it is tried again. status.salesforce.com shows outages of your instance.",
        heals=True,
    ),
    "UNKNOWN_EXCEPTION": Cause("Salesforce failed within.", "Nothing to do: it is tried again.", heals=True),
    "QUERY_TIMEOUT": Cause("A query took Salesforce too long.", "Nothing to do: it is tried again.", heals=True),
    "REQUEST_RUNNING_TOO_LONG": Cause(
        "Salesforce gave up on a long request, often because of slow triggers or Flows.",
        "It is tried again. If it stays, have the Flows and triggers of {sobject} looked at.",
        "Setup > Flows",
        "Flows/home",
        heals=True,
    ),
    "CONCURRENT_REQUEST_LIMIT_EXCEEDED": Cause(
        "More than 25 long calls ran in the org at once.", "Nothing to do: it is tried again.", heals=True
    ),
    "PROCESSING_HALTED": Cause(
        "Another record of the same request was refused first.", "Nothing to do: it is tried again.", heals=True
    ),
    "ALL_OR_NONE_OPERATION_ROLLED_BACK": Cause(
        "Another record of the same request was refused first.", "Nothing to do: it is tried again.", heals=True
    ),
    DEAD_SESSION: Cause(
        "The session ended: by idle time, or because somebody withdrew it.",
        "Nothing to do: we sign in again. If that fails, connect again on the set-up page.",
        heals=True,
    ),
    "DUPLICATE_VALUE": Cause(
        "Another record has this unique value already: two writes met, or somebody gave the value to a second record.",
        "It is tried again. If it stays, clear {fields} on the record that the message names, then retry.",
        *_FIELDS,
    ),
    # Waiting
    "REQUEST_LIMIT_EXCEEDED": Cause(
        "The org used up its API calls of the last 24 hours; every integration of the company shares them.",
        "Nothing is lost: sending goes on by itself when calls are free again. See which other integration uses most.",
        *_USAGE,
        heals=True,
    ),
    "API_DISABLED_FOR_ORG": Cause(
        "This edition of Salesforce comes without API access, or the integration user lacks it.",
        "Professional Edition needs the API add-on from Salesforce; else give the user 'API Enabled', then retry.",
        "Setup > Permission Sets > MRR Ledger writer > System Permissions",
        "PermSets/home",
    ),
    "API_CURRENTLY_DISABLED": Cause(
        "Salesforce has turned the org's API off for now, mostly while the org is being moved.",
        "Nothing to do: it is tried again every 15 minutes.",
        heals=True,
    ),
    # For a person
    "REQUIRED_FIELD_MISSING": Cause(
        "Somebody made a field required that we do not fill.",
        "Make {fields} optional on {sobject}, give it a default value, or map it; then retry.",
        *_FIELDS,
    ),
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": Cause(
        "A validation rule of your org refused the record; its message stands beside it.",
        "Change the rule, or let it pass the integration user with $Permission or $User.Id; then retry.",
        *_RULES,
    ),
    "FIELD_FILTER_VALIDATION_EXCEPTION": Cause(
        "A lookup filter does not allow the record we point at.",
        "Make the lookup filter of {fields} optional, or let it pass the integration user; then retry.",
        *_FIELDS,
    ),
    "DUPLICATES_DETECTED": Cause(
        "A duplicate rule of your org takes the record for a copy of another.",
        "Have the rule for {sobject} allow instead of block, or leave out the integration user; then retry.",
        *_DUPLICATES,
    ),
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": Cause(
        "The picklist is restricted and lacks the value we write.",
        "Add the value to {fields}, or map ours to one of yours; then retry.",
        *_FIELDS,
    ),
    "INVALID_FIELD": Cause(
        "The field does not exist, or field-level security hides it from the integration user.",
        "Deploy our fields and assign the permission set MRR Ledger writer, which grants {fields}; then retry.",
        *_PERMISSIONS,
    ),
    "INVALID_FIELD_FOR_INSERT_UPDATE": Cause(
        "The integration user may not write the field: it is read-only, a formula, or hidden.",
        "Give edit access to {fields} in the permission set, or map it to a field that can be written; then retry.",
        *_PERMISSIONS,
    ),
    "INVALID_CROSS_REFERENCE_KEY": Cause(
        "The record points at one that is not there, or that the integration user may not see.",
        "If it was deleted, match the customer anew; else share the record with the integration user. Then retry.",
        "Setup > Sharing Settings",
        "SecuritySharing/home",
    ),
    "INSUFFICIENT_ACCESS_OR_READONLY": Cause(
        "The integration user may not edit this record.",
        "Give it edit access to {sobject} in the permission set and share the record with it; then retry.",
        *_PERMISSIONS,
    ),
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Cause(
        "The integration user may not use the Account, Opportunity or owner that the record points at.",
        "Give it access to that record, by sharing or 'Modify All' on the object; then retry.",
        "Setup > Sharing Settings",
        "SecuritySharing/home",
    ),
    "INSUFFICIENT_ACCESS": Cause(
        "The integration user lacks a right.",
        "Assign it the permission set MRR Ledger writer; then retry.",
        *_PERMISSIONS,
    ),
    "ENTITY_IS_DELETED": Cause(
        "The record lies in the recycle bin.",
        "A merged Account is followed by itself; for a deleted one match the customer anew, or undelete it and retry.",
        "App Launcher > Recycle Bin",
    ),
    "ENTITY_IS_LOCKED": Cause(
        "The record is locked by an approval process.",
        "Finish or recall the approval, or give the integration user 'Modify All' on {sobject}; then retry.",
        "Setup > Approval Processes",
        "ApprovalProcesses/home",
    ),
    "STRING_TOO_LONG": Cause(
        "The field is shorter than the text.",
        "Make {fields} on {sobject} longer, as our package has it; then retry.",
        *_FIELDS,
    ),
    "MALFORMED_ID": Cause(
        "An id is not one of that kind of record.",
        "Check the field mapping of {fields}, and the id in the customer's or subscription's metadata; then retry.",
        *_FIELDS,
    ),
    "NUMBER_OUTSIDE_VALID_RANGE": Cause(
        "The field has too few digits for the amount.",
        "Give {fields} on {sobject} 18 digits, as our package has it; then retry.",
        *_FIELDS,
    ),
    "INVALID_TYPE": Cause(
        "The object does not exist, or the integration user does not see it.",
        "Deploy our objects with setup_salesforce --deploy and assign the permission set; then retry.",
        *_PERMISSIONS,
    ),
    "INVALID_TYPE_ON_FIELD_IN_RECORD": Cause(
        "The field is of another type than ours.",
        "Compare {fields} with setup_salesforce --check, or map another field; then retry.",
        *_FIELDS,
    ),
    "JSON_PARSER_ERROR": Cause(
        "A field is of another type than what we write into it.",
        "Compare the fields of {sobject} with setup_salesforce --check, or map another field; then retry.",
        *_FIELDS,
    ),
    "FIELD_INTEGRITY_EXCEPTION": Cause(
        "The value does not go with another field of the record.",
        "Look at {fields} on {sobject} and what depends on it; then retry.",
        *_FIELDS,
    ),
    "NOT_FOUND": Cause(
        "The record is not there, or the External ID field is missing or hidden.",
        "Run setup_salesforce --check; if the record was deleted, match the customer anew. Then retry.",
        *_FIELDS,
    ),
    TWINS: Cause(
        "The External ID stands on several records, so Salesforce cannot tell which one is meant.",
        "Delete or merge all but one of the records named, set the field to unique; then retry.",
        *_FIELDS,
    ),
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": Cause(
        "An Apex trigger of your org failed while it handled our record.",
        "Show Salesforce's words to whoever looks after the trigger on {sobject}; then retry.",
        "Setup > Apex Triggers",
        "ApexTriggers/home",
    ),
    "CANNOT_EXECUTE_FLOW_TRIGGER": Cause(
        "A Flow of your org failed while it handled our record.",
        "Show Salesforce's words to whoever looks after the Flow on {sobject}; then retry.",
        "Setup > Flows",
        "Flows/home",
    ),
    "STORAGE_LIMIT_EXCEEDED": Cause(
        "The org has no data storage left.",
        "Free or buy storage, then retry.",
        "Setup > Storage Usage",
        "CompanyResourceDisk/home",
    ),
    "INVALID_CURRENCY_ISO": CURRENCY,
    "INACTIVE_OWNER_OR_USER": Cause(
        "The owner of the record is not active any more.",
        "Give the record an active owner; then retry.",
        "Setup > Users",
        "ManageUsers/home",
    ),
    # Our own codes
    "no_answer": Cause(
        "The connection ended before Salesforce's answer could be read; the write may stand.",
        "Nothing to do: it is repeated by its key, which never makes a second record.",
        heals=True,
    ),
    "UNREADABLE_ANSWER": Cause(
        "Salesforce's answer could not be read; the write may stand.",
        "Nothing to do: it is repeated by its key, which never makes a second record.",
        heals=True,
    ),
    "unreachable": Cause(
        "Salesforce did not answer; nothing was sent.",
        "Nothing to do: it is tried again. If it stays, check the network and the instance URL.",
        heals=True,
    ),
    "other_host": Cause(
        "The address is not the connection's own, so nothing was sent there.",
        "Check the instance URL of the connection: it is the org's My Domain address.",
        _OWN,
    ),
    "tls": Cause(
        "The host's certificate is not trusted.",
        "Have REQUESTS_CA_BUNDLE name a file with the certificate of your proxy.",
        _OWN,
        heals=True,
    ),
    "BULK_UNPROCESSED": Cause(
        "Salesforce stopped a Bulk job before this record.",
        "Nothing to do: the record goes with another job.",
        heals=True,
    ),
    "BULK_NO_RESULT": Cause(
        "The results of a Bulk job do not speak of this record; the write may stand.",
        "Nothing to do: it is repeated by its key, which never makes a second record.",
        heals=True,
    ),
    "BULK_JOB_FAILED": Cause(
        "A Bulk job failed as a whole.",
        "Read Salesforce's words, mend what they name, then retry.",
        "Setup > Bulk Data Load Jobs",
        "AsyncApiJobStatus/home",
    ),
    "BULK_ROW_FAILED": Cause(
        "One row of a Bulk job failed without a code.",
        "Read Salesforce's words, then retry.",
        "Setup > Bulk Data Load Jobs",
        "AsyncApiJobStatus/home",
    ),
}
