"""What a person decides on the workbench: match, undo, set aside, take back, assign; each answers with what changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from crm import matching
from crm import selectors as crm
from crm.ids import MalformedId
from dashboard import formats, people
from dashboard.pages import notes, shared
from dashboard.pages.unmatched import decided
from dashboard.pages.unmatched.answers import answer
from dashboard.pages.unmatched.card import LIKE
from dashboard.pages.unmatched.parts import Outcome
from dashboard.roles import Ability, requires

SNOOZE_DAYS = 7
WAIT_DAYS = 30  # nobody remembers for longer; news bring a customer back before


@requires(Ability.MATCH)
@require_POST
def create_match(request: HttpRequest) -> HttpResponse:
    """Match the customer to the Account that was chosen, or to that of another customer."""
    chosen = request.POST.get("account_id", "")
    if chosen.startswith(LIKE):
        other = chosen.removeprefix(LIKE)
        if not other.isdecimal():
            raise Http404("There is no such customer.")
        return _matched(request, lambda pk, by, now: matching.match_like(pk, int(other), by=by, now=now))
    return _matched(request, lambda pk, by, now: matching.match(pk, chosen, by=by, now=now))


@requires(Ability.MATCH)
@require_POST
def create_account(request: HttpRequest) -> HttpResponse:
    """Have an Account made for the customer, where the connection's settings allow it."""
    return _matched(request, lambda pk, by, now: matching.create_account(pk, by=by, now=now))


@requires(Ability.MATCH)
@require_POST
def delete_match(request: HttpRequest, pk: int) -> HttpResponse:
    """Undo a match: the customer waits again, and what Salesforce holds is taken off the Account."""
    try:
        undone = matching.unmatch(pk, by=request.user.get_username(), now=shared.now_of(request))
    except matching.UnknownMatch as error:
        customer_pk = _posted_pk(request) if "customer" in request.POST else 0
        decided.forget(request, customer_pk)
        return answer(request, Outcome.STAYS, customer_pk, refused=str(error))
    decided.forget(request, undone.customer_id)
    if request.POST.get("to") == "customer":
        return redirect("dashboard:customer", undone.customer_id)
    return answer(request, Outcome.BACK, undone.customer_id, done="Undone. The customer waits again.")


@requires(Ability.MATCH)
@require_POST
def create_snooze(request: HttpRequest) -> HttpResponse:
    """Let the customer rest for a week."""
    until = shared.now_of(request) + timedelta(days=SNOOZE_DAYS)

    def snooze(pk: int, by: str, now: datetime) -> None:
        matching.snooze(pk, until=until, by=by, now=now)

    return _set_aside(request, decided.SNOOZED, snooze)


@requires(Ability.MATCH)
@require_POST
def create_wait(request: HttpRequest) -> HttpResponse:
    """Take the customer off the queue until what it waits for comes, a month at most."""
    what = request.POST.get("what", "")
    until = shared.now_of(request) + timedelta(days=WAIT_DAYS)

    def wait(pk: int, by: str, now: datetime) -> None:
        matching.wait_for(pk, what=what, until=until, by=by, now=now)

    return _set_aside(request, decided.EXPECTED, wait)


@requires(Ability.MATCH)
@require_POST
def create_ignore(request: HttpRequest) -> HttpResponse:
    """Leave the customer out for a reason."""
    reason = request.POST.get("ignored", "")

    def ignore(pk: int, by: str, now: datetime) -> None:
        matching.ignore(pk, reason=reason, note="", by=by, now=now)

    return _set_aside(request, decided.IGNORED, ignore)


@requires(Ability.MATCH)
@require_POST
def take_back(request: HttpRequest, kind: str) -> HttpResponse:
    """Bring a customer back that was snoozed, expected or ignored."""
    customer_pk, by, now = _posted_pk(request), request.user.get_username(), shared.now_of(request)
    try:
        match kind:
            case decided.SNOOZED:
                matching.snooze(customer_pk, until=None, by=by, now=now)
            case decided.EXPECTED:
                matching.wait_for(customer_pk, what="", until=None, by=by, now=now)
            case decided.IGNORED:
                matching.unignore(customer_pk, by=by, now=now)
            case _:
                raise Http404(f"Nobody is {kind}.")
    except matching.UnknownCustomer as error:
        decided.forget(request, customer_pk)
        return answer(request, Outcome.GONE, customer_pk, refused=str(error))
    decided.forget(request, customer_pk)
    # In the list it was set aside to it goes; where the decision is undone it comes back.
    leaves = request.GET.get("tab", "") == kind
    return answer(request, Outcome.GONE if leaves else Outcome.BACK, customer_pk, done="It waits again.")


@requires(Ability.ANNOTATE)
@require_POST
def assign(request: HttpRequest) -> HttpResponse:
    """Say who looks after the customer; what was said of a due date stays."""
    customer_pk = _posted_pk(request)
    try:
        assignee = notes.assign(customer_pk, request.POST.get("assignee", ""), request=request)
    except ValueError as error:
        return answer(request, Outcome.STAYS, customer_pk, refused=str(error))
    done = f"{assignee} looks after it." if assignee else "Nobody looks after it now."
    return answer(request, Outcome.CHANGED, customer_pk, done=done)


def _matched(request: HttpRequest, decide: Callable[[int, str, datetime], object]) -> HttpResponse:
    """Make a match; who was second is told who was first."""
    customer_pk, now = _posted_pk(request), shared.now_of(request)
    held = sum(crm.held_kinds([customer_pk])[customer_pk].values())
    try:
        decide(customer_pk, request.user.get_username(), now)
    except matching.AlreadyMatched as first:
        return answer(request, Outcome.GONE, customer_pk, refused=_first(first))
    except MalformedId:
        refused = "No Account was chosen. Choose a candidate, or search one."
        return answer(request, Outcome.STAYS, customer_pk, refused=refused)
    except (LookupError, ValueError, matching.NotMade) as error:
        return answer(request, Outcome.STAYS, customer_pk, refused=str(error))
    match = crm.matches_of([customer_pk])[customer_pk]
    decided.keep(request, decided.MATCHED, customer_pk, match_pk=match.pk, released=held)
    return answer(request, Outcome.GONE, customer_pk)


def _set_aside(request: HttpRequest, kind: str, act: Callable[[int, str, datetime], None]) -> HttpResponse:
    customer_pk, now = _posted_pk(request), shared.now_of(request)
    try:
        act(customer_pk, request.user.get_username(), now)
    except matching.UnknownReason as error:
        return answer(request, Outcome.STAYS, customer_pk, refused=str(error))
    except matching.UnknownCustomer as error:
        match = crm.matches_of([customer_pk]).get(customer_pk)
        return answer(request, Outcome.GONE, customer_pk, refused=_who_was_first(match) or str(error))
    decided.keep(request, kind, customer_pk)
    return answer(request, Outcome.GONE, customer_pk)


def _first(first: matching.AlreadyMatched) -> str:
    return _somebody(first.who, first.when)


def _who_was_first(match: crm.MatchRow | None) -> str:
    return _somebody(match.matched_by, match.matched_at) if match else ""


def _somebody(username: str, at: datetime) -> str:
    who = people.name_of(username) if username else "The machine"
    when = formats.moment(at, shared.zone(), seconds=False)
    return f"Somebody was first. {who} matched this customer at {when}. Nothing of yours was saved."


def _posted_pk(request: HttpRequest) -> int:
    text = request.POST.get("customer", "")
    if not text.isdecimal():
        raise Http404("There is no such customer.")
    return int(text)
