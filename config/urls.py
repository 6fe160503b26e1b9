"""Every address of the product."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, include, path
from django_q.models import Failure, OrmQ, Schedule, Success

from config import callbacks, health
from dashboard.pages import salesforce

# The queue's admin can schedule any function and shows pickles: schedules come from code alone.
for queue_model in (Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(queue_model):
        admin.site.unregister(queue_model)
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


@login_not_required
def home(request: HttpRequest) -> HttpResponse:
    """Send people to the dashboard, and on an empty install to the set-up page."""
    if not request.user.is_authenticated and not get_user_model().objects.exists():
        return redirect("/dashboard/setup/")
    return redirect("/dashboard/")


urlpatterns: list[URLPattern | URLResolver] = [
    path("", home, name="home"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("", include("billing.urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("dashboard/", include("dashboard.urls")),
    path("api/", include("dashboard.api.urls")),
    path("callbacks/salesforce/", callbacks.salesforce, name="callback_of_salesforce"),
    path("salesforce/callback/", salesforce.callback, name="salesforce_callback"),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.forbidden"
handler404 = "config.errors.not_found"
handler500 = "config.errors.broken"
