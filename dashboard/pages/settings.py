"""Settings: one page that leads to everything an administrator sets."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from dashboard.pages import shared
from dashboard.roles import Ability, requires


@dataclass(frozen=True)
class Setting:
    """One place where something is set."""

    label: str
    url_name: str
    icon: str
    text: str


SETTINGS = (
    Setting("Set up", "dashboard:setup", "flag", "Stripe sources, their keys and endpoints, step by step."),
    Setting("Users", "dashboard:users", "users", "Who may sign in, and what each may do."),
    Setting("Salesforce", "dashboard:salesforce", "plug", "The connection, and what the org lacks."),
    Setting("Salesforce rules", "dashboard:salesforce_rules", "bell", "Opportunities, payment tasks, who is told."),
    Setting("Summaries", "dashboard:summaries", "send", "The week and the month, by mail and in Slack."),
    Setting("Mapping", "dashboard:salesforce_mapping", "git-branch", "The org's own names for our fields."),
)


@requires(Ability.MANAGE_USERS)
@require_GET
def settings(request: HttpRequest) -> HttpResponse:
    """List what can be set. What belongs to the machine (addresses, keys, time zone) is set by its environment."""
    found = {"settings": SETTINGS}
    return shared.page(request, "dashboard/settings.html", found, name="Settings", now=shared.now_of(request))
