"""Registers the app with Django."""

from django.apps import AppConfig


class MRRConfig(AppConfig):
    name = "mrr"
    verbose_name = "MRR"
    default_auto_field = "django.db.models.BigAutoField"
