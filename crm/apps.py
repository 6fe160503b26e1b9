"""Registers the app with Django."""

from django.apps import AppConfig


class CRMConfig(AppConfig):
    name = "crm"
    verbose_name = "CRM (Salesforce)"
    default_auto_field = "django.db.models.BigAutoField"
