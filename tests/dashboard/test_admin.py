"""Django's admin: every list opens for the administrator, and what was concluded cannot be edited there."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from mrr.models import LedgerEntry
from tests.scenario import Scenario

OURS = ("billing", "mrr", "crm", "dashboard")


@pytest.fixture
def boss(db: None) -> Client:
    user = get_user_model().objects.create_superuser("boss", password="a long enough password")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_every_list_of_ours_opens(boss: Client) -> None:
    scenario = Scenario()
    scenario.customer("Acme").subscribes("Team", monthly="30.00", on="2026-01-10")
    lists = [model for model in admin.site._registry if model._meta.app_label in OURS]
    assert LedgerEntry in lists

    answers = {
        model._meta.label: boss.get(
            reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        ).status_code
        for model in lists
    }

    assert set(answers.values()) == {200}, answers


def test_an_entry_is_shown_with_its_lines_and_cannot_be_changed(boss: Client) -> None:
    scenario = Scenario()
    scenario.customer("Acme").subscribes("Team", yearly="100.00", on="2026-01-10")
    entry = LedgerEntry.objects.get()
    address = reverse("admin:mrr_ledgerentry_change", args=[entry.pk])

    shown = boss.get(address).content.decode()

    assert "8.33333333 USD" in shown
    assert entry.event_ids[0] in shown
    assert 'name="_save"' not in shown
    assert boss.post(address, {"type": "churn"}).status_code == 403
    assert boss.get(reverse("admin:mrr_ledgerentry_add")).status_code == 403
    assert boss.get(reverse("admin:mrr_ledgerentry_delete", args=[entry.pk])).status_code == 403
