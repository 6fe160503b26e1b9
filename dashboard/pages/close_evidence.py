"""The evidence of a closed month, as a download."""

from __future__ import annotations

from datetime import date

from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_GET

from dashboard import evidence
from dashboard.pages import shared
from dashboard.roles import Ability, requires
from mrr import selectors as mrr


@requires(Ability.EXPORT)
@require_GET
def archive(request: HttpRequest, month: str) -> StreamingHttpResponse:
    """Send the archive of a month that is closed; it is made while it is sent."""
    try:
        closed = mrr.closed_month(date.fromisoformat(f"{month}-01"))
    except ValueError as error:
        raise Http404(f"'{month}' is no month.") from error
    if closed is None:
        raise Http404("This month is not closed, so there is nothing to prove yet.")
    pieces = evidence.stream(closed, by=request.user.get_username(), now=shared.now_of(request))
    answer = StreamingHttpResponse(pieces, content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="evidence-{month}.zip"'
    answer["Cache-Control"] = "no-store"
    return answer
