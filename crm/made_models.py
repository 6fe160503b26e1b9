"""Accounts that people had made in Salesforce for customers."""

from __future__ import annotations

from django.db import models
from django.db.models import Index, Q


class MadeAccount(models.Model):
    """That an Account was asked for: written down before the call, so that no lost answer ever makes a second one."""

    customer = models.OneToOneField("billing.Customer", on_delete=models.PROTECT, related_name="made_account")
    by = models.CharField(max_length=150, help_text="username")
    asked_at = models.DateTimeField()
    is_open = models.BooleanField(default=True, help_text="whether one was made is not known yet")
    account_id = models.CharField(max_length=18, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        verbose_name = "made Account"
        indexes = [Index(fields=["asked_at"], name="made_accounts_open", condition=Q(is_open=True))]

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.account_id or 'asked for'}"
