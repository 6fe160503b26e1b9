"""The steps from an empty install to figures that are right: each done, or saying what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from urllib.parse import urlencode

from django.conf import settings

from billing import checks, deliveries, endpoints, examining
from billing import selectors as billing
from billing.selectors import Check, SourceRow, State, worst
from crm import selectors as crm
from crm.selectors import set_up
from dashboard import formats
from mrr import selectors as mrr

STRIPE = "https://dashboard.stripe.com"
MATCHED_ENOUGH = Fraction(95, 100)
KEY = ("key", "right", "clock")


@dataclass(frozen=True)
class Step:
    """One step of the set-up; `is_open` is the first that is not done."""

    name: str
    is_done: bool
    is_open: bool = False


@dataclass(frozen=True)
class RightRow:
    """A right that the key needs, and whether the last look found it missing."""

    right: examining.Right
    is_missing: bool


@dataclass(frozen=True)
class SourceState:
    """A source as its card shows it: what was found when Stripe was last asked, and how deliveries stand now."""

    row: SourceRow
    checked_at: datetime | None
    found: tuple[Check, ...]
    delivery: Check
    backfill: billing.ListingRow | None
    history: Check

    @property
    def address(self) -> str:
        return endpoints.address(self.row.slug)

    @property
    def codes(self) -> set[str]:
        return {one.code for one in (*self.found, self.delivery) if one.code}

    @property
    def key_checks(self) -> list[Check]:
        return [one for one in self.found if one.subject in KEY]

    @property
    def endpoint_checks(self) -> list[Check]:
        return [one for one in self.found if one.subject == "endpoint"]

    @property
    def has_key(self) -> bool:
        return not self.codes & {"no_api_key", "wrong_api_key"}

    @property
    def rights(self) -> list[RightRow]:
        missing = {one.sentence for one in self.found if one.code == "missing_permission"}
        return [RightRow(one, any(f" {one.shown}:" in said for said in missing)) for one in examining.RIGHTS]

    @property
    def is_by_hand(self) -> bool:
        """The endpoint has to be made in Stripe by a person: we have no key, or may not look."""
        return bool(self.codes & {"no_api_key", "wrong_api_key", "endpoint_unseen"})

    @property
    def is_waiting(self) -> bool:
        """Something may change by itself any moment: the page looks again."""
        return self.delivery.state != State.OK or (self.backfill is not None and self.backfill.is_running)

    @property
    def may_read_history(self) -> bool:
        return self.has_key and (self.backfill is None or not self.backfill.is_running)

    @property
    def key_page(self) -> str:
        return key_page(livemode=self.row.livemode)

    @property
    def endpoint_page(self) -> str:
        return f"{STRIPE}/{'' if self.row.livemode else 'test/'}webhooks"


@dataclass(frozen=True)
class SetUp:
    """All that the page shows: sources, the Salesforce connection, matching, shadow, and the steps over them."""

    sources: tuple[SourceState, ...]
    org: set_up.SetUp | None
    salesforce: tuple[Check, ...]
    figures: Check
    matching: Check
    shadow: Check

    @property
    def steps(self) -> list[Step]:
        stripe = [one for source in self.sources for one in source.found]
        keys = [one for one in stripe if one.subject in KEY]
        ends = [one for one in stripe if one.subject == "endpoint"] + [source.delivery for source in self.sources]
        done = {
            "First account": True,
            "Stripe key": bool(keys) and worst(keys) == State.OK,
            "Webhook endpoint": bool(self.sources) and worst(ends) == State.OK,
            "Salesforce": worst(self.salesforce) == State.OK,
            "History": bool(self.sources) and worst(source.history for source in self.sources) == State.OK,
            "Matching": self.matching.state == State.OK,
            "Shadow run": self.shadow.state == State.OK,
        }
        first = next((name for name, is_done in done.items() if not is_done), "")
        return [Step(name, is_done, name == first) for name, is_done in done.items()]

    @property
    def done(self) -> int:
        return sum(step.is_done for step in self.steps)


def key_page(*, livemode: bool) -> str:
    """Return Stripe's form for a restricted key, with our rights ticked where Stripe still takes them by address."""
    wanted = [("name", "MRR Ledger"), *(("permissions[]", right.code) for right in examining.RIGHTS)]
    query = urlencode([*wanted, ("permissions[]", "rak_webhook_write")])
    return f"{STRIPE}/{'' if livemode else 'test/'}apikeys/create?{query}"


def read(*, now: datetime) -> SetUp:
    """Read how the set-up stands, from our own rows alone; what was asked of Stripe is as of the last look."""
    known = billing.sources()
    kept = checks.kept()
    org = set_up.salesforce_set_up()
    return SetUp(
        sources=tuple(_source(row, *kept[row.pk], now=now) for row in known),
        org=org,
        salesforce=tuple(set_up.checks(org, now=now)),
        matching=_matching(),
        shadow=_shadow(org, now=now),
        figures=_figures(known),
    )


def _source(row: SourceRow, checked_at: datetime | None, found: list[Check], *, now: datetime) -> SourceState:
    delivery = deliveries.deliveries(row.pk, livemode=row.livemode, now=now)
    progress = billing.backfill_progress(row.pk)
    return SourceState(row, checked_at, tuple(found or [UNTRIED]), delivery, progress, _history(progress))


UNTRIED = Check("key", State.TODO, "Stripe was not asked yet about key and endpoint.", "", "Press Check again.")


def _matching() -> Check:
    currency = settings.REPORTING_CURRENCY
    totals = crm.unmatched_totals()
    share = totals.share(currency)
    if share is None:
        return Check("matching", State.TODO, "There is no MRR to match yet.", "", "It comes with events and history.")
    words = f"{formats.ratio(share)} of MRR in {currency.upper()} is matched to Accounts."
    waiting = f"{formats.count(totals.customers)} customer{'' if totals.customers == 1 else 's'}"
    if share >= MATCHED_ENOUGH:
        return Check("matching", State.OK, f"{words} {waiting} wait{'s' if totals.customers == 1 else ''}.")
    cure = f"Match the rest, the largest first: {waiting} on the unmatched page."
    return Check("matching", State.TODO, words, "unmatched", cure)


def _shadow(org: set_up.SetUp | None, *, now: datetime) -> Check:
    if org is None or not org.is_connected:
        cure = "Connect Salesforce first. Then everything that would be written is recorded and nothing is."
        return Check("shadow", State.TODO, "There is nothing to watch yet.", "", cure)
    if org.mode == "live":
        return Check("shadow", State.OK, "Salesforce is live: what the ledger says is written.")
    counts = crm.outbox_counts(now=now)
    sentence = f"Nothing is written yet. {formats.count(counts.would_send)} changes are recorded as would send."
    return Check("shadow", State.TODO, sentence, "", "Look through them, and go live when they are right.")


def _history(found: billing.ListingRow | None) -> Check:
    """Say how far the reading of what happened before is."""
    if found is None:
        sentence = "What happened before is not known yet: nothing was read from Stripe's lists."
        cure = "Read it once key and endpoint are right. Nobody is told of what is learnt from it."
        return Check("history", State.TODO, sentence, "", cure)
    if found.code and not found.is_running:
        cure = "Mend the cause and read again: it goes on where it stopped."
        return Check("history", State.MEND, f"Reading stopped: {found.error}", found.code, cure)
    counted = f"{formats.count(found.listed)} object{'' if found.listed == 1 else 's'}"
    if found.is_running:
        sentence = f"Reading Stripe's lists: {counted} so far, about {found.share_percent}%."
        if found.share_percent == 100:
            sentence = f"{counted} are read; MRR of {formats.count(found.waiting_customers)} customers is worked out."
        return Check("history", State.TODO, sentence, "", "Nothing to do: it goes on by itself, after a restart too.")
    if not found.is_complete:
        open_ones = [part for part in found.parts if not part.is_complete]
        listed = ", ".join(f"{part.name} ({part.code or 'not all kept'})" for part in open_ones)
        cure = "Mend what the list says and read again; the other lists are whole."
        code = next((part.code for part in open_ones if part.code), "list_refused")
        return Check("history", State.MEND, f"Not every list could be read: {listed}.", code, cure)
    return Check("history", State.OK, f"{counted} were listed and every one of them is kept.")


def _figures(known: Sequence[SourceRow]) -> Check:
    live = [row.pk for row in known if row.livemode]
    if live and mrr.standing(live).currencies:
        return Check("figures", State.OK, "MRR stands: the overview shows it.")
    cure = "It comes with the history, or with Stripe's next events about subscriptions."
    return Check("figures", State.TODO, "No subscription counts yet, so MRR is not known.", "", cure)
