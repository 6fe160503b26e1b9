"""The WSGI application: Stripe's deliveries go straight to the webhook, everything else through Django."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
pages = get_wsgi_application()

from billing import webhook  # noqa: E402  (models can be imported only once Django is set up)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request; deliveries skip the sessions, policies and logs of pages, which cost more than the work."""
    if environ.get("PATH_INFO", "").startswith(webhook.PREFIX):
        return webhook.application(environ, start_response)
    return pages(environ, start_response)
