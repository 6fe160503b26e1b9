"""Help: what each code means, why it arises and what to do about it; the index begins with those asked for most."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from dashboard import help as table
from dashboard.pages import shared
from dashboard.roles import Ability, requires


@requires(Ability.SEE_FIGURES)
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Show every code; `q` keeps those whose code or words hold a text."""
    search = request.GET.get("q", "").strip()
    sections = [table.Section("The usual ones", tuple(table.usual())), *table.SECTIONS]
    found = [
        table.Section(section.title, topics)
        for section in (sections[1:] if search else sections)
        if (topics := tuple(topic for topic in section.topics if _fits(topic, search.lower())))
    ]
    return shared.page(
        request,
        "dashboard/help_index.html",
        {"sections": found, "search": search},
        name="Help",
        now=shared.now_of(request),
    )


@requires(Ability.SEE_FIGURES)
@require_GET
def topic(request: HttpRequest, code: str) -> HttpResponse:
    """Show one code; 404 for one that the product never shows."""
    found = table.topic(code)
    if found is None:
        raise Http404(f"There is no help for the code '{code}'.")
    near = next((section for section in table.SECTIONS if code in {each.code for each in section.topics}), None)
    return shared.page(
        request,
        "dashboard/help.html",
        {"topic": found, "section": near},
        name=f"Help: {found.title}",
        now=shared.now_of(request),
    )


def _fits(topic: table.Topic, search: str) -> bool:
    return search in f"{topic.code} {topic.title} {topic.cause} {topic.cure}".lower()
