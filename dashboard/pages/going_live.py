"""Going live: what would be written first, shown before a person types that it shall be; the way back, and the hold."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from crm import connections, holding, shadow
from crm import selectors as crm
from dashboard import formats
from dashboard.pages import shared, sync
from dashboard.roles import Ability, requires

WORD = "LIVE"


@dataclass(frozen=True)
class FirstLine:
    """The would-be writes of one object: how many, and how many of those compared are new or stand there already."""

    sobject: str
    count: int
    compared: int
    new: int
    existing: int
    sample: list[sync.RecordLine]

    @property
    def not_compared(self) -> int:
        return self.count - self.compared


@requires(Ability.CONNECT)
@require_http_methods(["GET", "POST"])
def go_live(request: HttpRequest) -> HttpResponseBase:
    """Show the first writes; with the word typed, switch to live: the newest state is sent once."""
    connection = crm.connection()
    reason = _why_not(connection)
    if request.method == "POST" and not reason:
        if request.POST.get("confirmation", "").strip() == WORD:
            return _switch(request)
        return _page(request, connection, reason, error=f"Type {WORD}, in capital letters, to switch.")
    return _page(request, connection, reason)


@requires(Ability.CONNECT)
@require_POST
def go_shadow(request: HttpRequest) -> HttpResponse:
    """Take live back: from now on nothing is written, and what is owed is recorded as what would be sent."""
    try:
        connections.go_shadow(now=shared.now_of(request))
    except connections.NotConnected as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Back in shadow. Nothing is written to Salesforce from now on.")
    return redirect("dashboard:sync")


@requires(Ability.RETRY)
@require_POST
def hold(request: HttpRequest) -> HttpResponse:
    """Hold everything that would be written, until an administrator releases it."""
    by = request.user.get_username()
    if holding.hold_all("Held on the sync page.", by=by, now=shared.now_of(request)):
        messages.success(request, "Held. What is owed waits in its newest state until an administrator releases it.")
    else:
        messages.error(request, "Salesforce is not connected, so there is nothing to hold.")
    return redirect("dashboard:sync")


@requires(Ability.CONNECT)
@require_POST
def release(request: HttpRequest) -> HttpResponse:
    """Let go what was held: each record once, in its newest state."""
    if holding.release_held(by=request.user.get_username(), now=shared.now_of(request)):
        messages.success(request, "Released. What was held goes now, each record once, in its newest state.")
    else:
        messages.info(request, "Nothing was held.")
    return redirect("dashboard:sync")


@requires(Ability.CONNECT)
@require_POST
def compare(request: HttpRequest) -> HttpResponse:
    """Look up what Salesforce holds of what would be written, before anything is."""
    looked = shadow.look(now=shared.now_of(request))
    if looked.records or looked.questions:
        messages.success(request, f"Compared {formats.count(looked.records)} more with Salesforce.")
    else:
        messages.info(request, "Nothing more could be compared now: all is, or the day's reads are used up.")
    return redirect("dashboard:sync_live")


def _switch(request: HttpRequest) -> HttpResponse:
    try:
        connections.go_live(now=shared.now_of(request))
    except connections.NotConnected as error:
        messages.error(request, str(error))
        return redirect("dashboard:sync_live")
    messages.success(request, "Live. What would have been sent goes now, each record once, in its newest state.")
    return redirect("dashboard:sync")


def _why_not(connection: crm.Connection | None) -> str:
    """Say why the connection cannot go live; empty when it can."""
    if connection is None:
        return "Salesforce is not connected. Connect it first."
    if connection.is_demo:
        return "This is the demo: there is no org behind its connection, so it stays in shadow mode."
    if connection.is_live:
        return "The connection is live already."
    if connection.needs_a_person:
        return f"Salesforce does not let us in: {connection.error} Connect again first."
    return ""


def _page(request: HttpRequest, connection: crm.Connection | None, reason: str, *, error: str = "") -> HttpResponse:
    found = crm.going_live()
    answer = shared.page(
        request,
        "dashboard/going_live.html",
        {
            "connection": connection,
            "reason": reason,
            "error": error,
            "word": WORD,
            "first": found,
            "kinds": [
                FirstLine(
                    kind.sobject,
                    kind.count,
                    kind.compared,
                    kind.new,
                    kind.existing,
                    sync.record_lines(request, kind.sample, connection),
                )
                for kind in found.kinds
            ],
        },
        name="Going live",
        now=shared.now_of(request),
    )
    answer.status_code = 400 if error else 200
    return answer
