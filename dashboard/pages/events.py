"""Stripe events: all that was received and what became of it; one event with its payload, and processing it again."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from billing import inbox, webhook
from billing import selectors as billing
from dashboard import formats, help
from dashboard.pages import shared
from dashboard.pages.latest import EventLine, event_line, movement_rows
from dashboard.parts import Choice, Empty, Fact, Pager
from dashboard.roles import Ability, may, requires
from mrr import selectors as mrr

PAGE_SIZE = 50
STATES = {"": "All", "waiting": "Waiting", "processed": "Processed", "ignored": "Ignored", "parked": "Parked"}


@requires(Ability.SEE_PEOPLE)
@require_GET
def events(request: HttpRequest) -> HttpResponse:
    now = shared.now_of(request)
    scope = shared.read_scope(request)
    state = request.GET.get("state", "")
    if state not in STATES:
        raise BadRequest(f"There is no state '{state}'. Known are: {', '.join(filter(None, STATES))}.")
    search = request.GET.get("q", "").strip()
    if search.startswith("evt_") and billing.event_details(search, source_pks=scope.sources):
        return redirect(reverse("dashboard:event", args=[search]))
    counts = billing.event_counts(scope.sources)
    rows, pager = _page(request, scope.sources, state, search)
    return shared.page(
        request,
        "dashboard/events.html",
        {
            "facts": _facts(counts, now),
            "states": [
                Choice(
                    name,
                    shared.link(request, state=code or None),
                    code == state,
                    formats.count(getattr(counts, code)) if code else "",
                )
                for code, name in STATES.items()
            ],
            "search": search,
            "kept": [(name, value) for name, value in request.GET.items() if name in ("state", "source")],
            "rows": rows,
            "pager": pager,
            "empty": _nothing(request, state, search),
        },
        name="Stripe events",
        now=now,
        scope=scope,
    )


@requires(Ability.SEE_FIGURES)
@require_GET
def event(request: HttpRequest, event_id: str) -> HttpResponse:
    """Show one event; its payload only to those who may see people, because it holds names and addresses."""
    now = shared.now_of(request)
    detail = _one(request, event_id)
    row = detail.row
    owner = (
        next((one for one in billing.customers_by_stripe_id(row.customer_id, source_pks=[row.source_pk])), None)
        if row.customer_id
        else None
    )
    entries = mrr.movements_of_event(row.stripe_id, owner.pk) if owner else []
    sees = shared.sees_people(request)
    request.is_test_mode = not row.livemode  # type: ignore[attr-defined]  # the frame reads it
    return shared.page(
        request,
        "dashboard/event.html",
        {
            "event": row,
            "sha256": detail.sha256,
            "size": len(detail.text.encode()),
            "payload": detail.pretty if sees else "",
            "reason": help.topic(row.reason),
            "customer_url": reverse("dashboard:customer", args=[owner.pk]) if owner else "",
            "entries": movement_rows(request, entries),
            "may_retry": may(request, Ability.RETRY),
        },
        name="Stripe event",
        now=now,
    )


@requires(Ability.RETRY)
@require_POST
def process(request: HttpRequest, event_id: str) -> HttpResponse:
    """Put an event back to waiting, so that the pipeline takes it again."""
    row = _one(request, event_id).row
    inbox.reprocess(row.pk, now=shared.now_of(request))
    webhook.after_keep()
    messages.success(request, "It waits again and is processed within seconds. Load the page to see what became of it.")
    return redirect(f"{reverse('dashboard:event', args=[row.stripe_id])}?source={row.source_slug}")


@requires(Ability.RETRY)
@require_POST
def park(request: HttpRequest, event_id: str) -> HttpResponse:
    """Take a waiting event out of the queue until a person processes it again."""
    row = _one(request, event_id).row
    if inbox.park(row.pk, by=request.user.get_username(), now=shared.now_of(request)):
        messages.success(request, "Parked. It is not in the figures until somebody processes it again.")
    else:
        messages.info(request, "It waits no more, or is being worked on this moment.")
    return redirect(f"{reverse('dashboard:event', args=[row.stripe_id])}?source={row.source_slug}")


def _one(request: HttpRequest, event_id: str) -> billing.EventDetail:
    """Return the event of the source that the address names, else the first that knows the id; raises Http404."""
    slug = request.GET.get("source", "")
    found = [row for row in billing.event_details(event_id) if not slug or row.row.source_slug == slug]
    if not found:
        raise Http404(f"There is no event '{event_id}'.")
    return found[0]


def _page(request: HttpRequest, source_pks: tuple[int, ...], state: str, search: str) -> tuple[list[EventLine], Pager]:
    before, after = (_number(request.GET.get(name, "")) for name in ("before", "after"))
    is_customer = search.startswith("cus_")
    found = billing.events(
        source_pks=source_pks,
        states=(state,) if state else (),
        type_prefix="" if is_customer else search,
        customer_id=search if is_customer else "",
        before_pk=before,
        after_pk=after,
        limit=PAGE_SIZE + 1,
    )
    has_more = len(found) > PAGE_SIZE
    shown = (found[1:] if after is not None else found[:-1]) if has_more else found
    has_older = has_more if after is None else True
    has_newer = has_more if after is not None else before is not None
    return [event_line(row) for row in shown], Pager(
        formats.count(len(shown)),
        next_url=shared.link(request, before=shown[-1].pk) if shown and has_older else "",
        previous_url=shared.link(request, after=shown[0].pk) if shown and has_newer else "",
    )


def _number(text: str) -> int | None:
    if text and not text.isdigit():
        raise BadRequest("This place in the list is not one that a page gave out.")
    return int(text) if text else None


def _facts(counts: billing.EventCounts, now: object) -> list[Fact]:
    return [
        Fact("Received", formats.count(counts.received), "", "kept as sent, each once"),
        Fact("Processed", formats.count(counts.processed), ""),
        Fact("Ignored", formats.count(counts.ignored), "", "kept, of no concern to MRR"),
        Fact("Waiting", formats.count(counts.waiting), ""),
        Fact(
            "Parked",
            formats.count(counts.parked),
            "",
            "wait for a person" if counts.parked else "nothing waits for a person",
        ),
    ]


def _nothing(request: HttpRequest, state: str, search: str) -> Empty:
    if search:
        words = f"No type begins with “{search}”" if not search.startswith("cus_") else f"None of customer {search}"
        return Empty("search", "No event fits", f"{words}.", "Drop the search", shared.link(request, q=None))
    if state:
        return Empty("check", f"No event is {STATES[state].lower()}", "", "Show all", shared.link(request, state=None))
    return Empty(
        "bolt", "No events yet", "Send a test event from the endpoint's page in Stripe, or load a file of past events."
    )
