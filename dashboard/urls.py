"""The addresses of the pages."""

from __future__ import annotations

from django.urls import URLPattern, path

from dashboard.pages import (
    at_risk,
    cohorts,
    customer,
    customers,
    events,
    movements,
    overview,
    setup,
    sync,
    unmatched,
)

app_name = "dashboard"

urlpatterns: list[URLPattern] = [
    path("", overview.overview, name="overview"),
    path("movements/", movements.movements, name="movements"),
    path("cohorts/", cohorts.cohorts, name="cohorts"),
    path("customers/", customers.customers, name="customers"),
    path("customers/<int:pk>/", customer.customer, name="customer"),
    path("unmatched/", unmatched.unmatched, name="unmatched"),
    path("matches/", unmatched.create_match, name="matches"),
    path("matches/<int:pk>/delete/", unmatched.delete_match, name="match_delete"),
    path("snoozes/", unmatched.create_snooze, name="snoozes"),
    path("at-risk/", at_risk.at_risk, name="at_risk"),
    path("sync/", sync.sync, name="sync"),
    path("sync/<int:pk>/retry/", sync.retry, name="sync_retry"),
    path("events/", events.events, name="events"),
    path("events/<str:event_id>/", events.event, name="event"),
    path("events/<str:event_id>/process/", events.process, name="event_process"),
    path("setup/", setup.setup, name="setup"),
]
