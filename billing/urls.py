"""The addresses that Stripe calls."""

from __future__ import annotations

from django.urls import URLPattern, path

from billing import webhook

urlpatterns: list[URLPattern] = [
    path("webhooks/stripe/<str:slug>/", webhook.stripe_webhook, name="stripe_webhook"),
]
