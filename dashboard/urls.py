"""The addresses of the pages."""

from __future__ import annotations

from django.urls import URLPattern, path

from dashboard.pages import (
    at_risk,
    cohorts,
    customer,
    customers,
    events,
    going_live,
    help,
    movements,
    opportunities,
    overview,
    salesforce,
    salesforce_rules,
    setup,
    sync,
    sync_lists,
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
    path("choices/", opportunities.create_choice, name="choices"),
    path("choices/<int:pk>/delete/", opportunities.delete_choice, name="choice_delete"),
    path("at-risk/", at_risk.at_risk, name="at_risk"),
    path("sync/", sync.sync, name="sync"),
    path("sync/<int:pk>/retry/", sync.retry, name="sync_retry"),
    path("sync/decisions/", sync.decide, name="sync_decide"),
    path("sync/drift/", sync_lists.decide_drift, name="sync_drift"),
    path("sync/checks/", sync_lists.check, name="sync_check"),
    path("sync/live/", going_live.go_live, name="sync_live"),
    path("sync/live/compare/", going_live.compare, name="sync_compare"),
    path("sync/shadow/", going_live.go_shadow, name="sync_shadow"),
    path("sync/holds/", going_live.hold, name="sync_hold"),
    path("sync/holds/release/", going_live.release, name="sync_release"),
    path("events/", events.events, name="events"),
    path("events/<str:event_id>/", events.event, name="event"),
    path("events/<str:event_id>/process/", events.process, name="event_process"),
    path("help/", help.index, name="help_index"),
    path("help/<str:code>/", help.topic, name="help"),
    path("setup/", setup.setup, name="setup"),
    path("salesforce/", salesforce.salesforce, name="salesforce"),
    path("salesforce/connect/", salesforce.connect, name="salesforce_connect"),
    path("salesforce/check/", salesforce.check, name="salesforce_check"),
    path("salesforce/deploy/", salesforce.deploy, name="salesforce_deploy"),
    path("salesforce/rules/", salesforce_rules.salesforce_rules, name="salesforce_rules"),
    path("salesforce/rules/<int:pk>/", salesforce_rules.source_rules, name="salesforce_source_rules"),
    path("salesforce/rules/alerts/", salesforce_rules.try_alerts, name="salesforce_try_alerts"),
    path("salesforce/mapping/", salesforce.mapping, name="salesforce_mapping"),
    path("salesforce/mapping/change/", salesforce.change_mapping, name="salesforce_mapping_change"),
    path("salesforce/mapping/file/", salesforce.mapping_file, name="salesforce_mapping_file"),
]
