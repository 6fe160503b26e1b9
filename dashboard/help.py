"""The one table of help: every code that we show, with its cause and its cure, joined from where they arise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from billing import codes as billing
from crm import codes as crm
from crm.channels.salesforce import errors as salesforce
from dashboard import codes
from mrr import codes as mrr


@dataclass(frozen=True, slots=True)
class Topic:
    """One code for people: what it is called, why it arises, what to do, and the place in Salesforce's Setup if any."""

    code: str
    title: str
    cause: str
    cure: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Codes that arise in one place."""

    title: str
    topics: tuple[Topic, ...]


# The codes that people ask about most.
USUAL: Final = (
    "REQUEST_LIMIT_EXCEEDED",
    "bad_signature",
    "annual_counted_monthly",
    "duplicate_updates",
    "unmatched",
    "invalid_grant",
)

_TITLES: Final = {"REQUEST_LIMIT_EXCEEDED": "Over the API limit"}
_SALESFORCES: Final = re.compile(r"[A-Z][A-Z0-9_]{2,79}")


def _topics(table: Mapping[str, tuple[str, str, str]]) -> tuple[Topic, ...]:
    return tuple(Topic(code, *words) for code, words in table.items())


def _refusal(code: str) -> Topic:
    found = salesforce.explain(code, "")
    title = _TITLES.get(code) or code.replace("_", " ").capitalize()
    return Topic(code, title, found.why, found.fix, found.where)


SECTIONS: Final = (
    Section("What figures lack", _topics({**mrr.GAPS, **mrr.ITEMS})),
    Section("Where figures differ", _topics(mrr.DIFFERENCES)),
    Section("Deliveries from Stripe", _topics(billing.REFUSALS)),
    Section("Stripe events", _topics(billing.EVENTS)),
    Section("Reading from Stripe", _topics({**billing.FETCHES, **billing.LISTINGS})),
    Section("Setting Stripe up", _topics(billing.CONNECTING)),
    Section("Customers without an Account", _topics(crm.UNMATCHED)),
    Section("Outgoing work", _topics(crm.WORK)),
    Section("Which Opportunity", _topics(crm.OPPORTUNITIES)),
    Section("The connection to Salesforce", _topics(crm.CONNECTION)),
    Section("Salesforce's refusals", tuple(_refusal(code) for code in salesforce.CAUSES)),
    Section("Setting Salesforce up", _topics(crm.SETUP)),
    Section("Told by a Salesforce Flow", _topics(crm.CALLBACK)),
    Section("Slack", _topics(crm.SLACK)),
    Section("Closing months", _topics(mrr.BOOKS)),
    Section("Health", _topics(codes.HEALTH)),
    Section("The API", _topics(codes.API)),
)

# A code that arises in two places means the same in both; the first section has its page.
TOPICS: Final[Mapping[str, Topic]] = {
    topic.code: topic for section in reversed(SECTIONS) for topic in reversed(section.topics)
}


def topic(code: str) -> Topic | None:
    """Return the help for a code; a code of Salesforce's that is not in the table gets what is known of its family."""
    found = TOPICS.get(code)
    return found or (_refusal(code) if _SALESFORCES.fullmatch(code) else None)


def usual() -> list[Topic]:
    """Return the six that people ask about most, in their order."""
    return [TOPICS[code] for code in USUAL]


def markdown() -> str:
    """Return docs/troubleshooting.md: the usual six first, then every code by where it arises."""
    lines = [
        "# Troubleshooting",
        "",
        "Every code that a page, an answer of the API, a command or the log can show, with its cause and its cure. The",
        "same stands at `/dashboard/help/<code>/` on a running server. Made by `manage.py write_troubleshooting`;",
        "change the words in `billing/codes.py`, `mrr/codes.py`, `crm/codes.py`, `dashboard/codes.py` and",
        "`crm/channels/salesforce/errors.py`.",
        "",
        "## The six usual ones",
    ]
    for each in usual():
        lines += ["", f"### {each.title}", "", f"`{each.code}`", "", each.cause, "", f"**What to do.** {each.cure}"]
        lines += ["", f"In Salesforce: {each.where}."] if each.where else []
    for section in SECTIONS:
        lines += ["", f"## {section.title}", "", "| code | cause | what to do |", "| --- | --- | --- |"]
        lines += [_row(each) for each in section.topics]
    return "\n".join(lines) + "\n"


def _row(each: Topic) -> str:
    cells: Iterable[str] = (f"`{each.code}`", f"**{each.title}.** {each.cause}", each.cure)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
