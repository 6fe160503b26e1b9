"""Structured logs to standard error, with secrets taken out before a line is written."""

from __future__ import annotations

import re
from typing import Any

import structlog

SECRET = re.compile(
    r"(whsec_|sk_live_|sk_test_|rk_live_|rk_test_|xox[abp]-|Bearer\s+|Token\s+|access_token=|refresh_token=)[^\s\"',}]+"
)


def without_secrets(text: str) -> str:
    """Replace what looks like a key, token or signing secret by its first letters."""
    return SECRET.sub(lambda found: found.group(1) + "[hidden]", text)


def hide_secrets(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A structlog step: no value of a log line holds a secret."""
    return {key: without_secrets(value) if isinstance(value, str) else value for key, value in event.items()}


def logging_config(*, level: str, as_json: bool) -> dict[str, Any]:
    """Return Django's LOGGING for one line an event, for people (console) or machines (json)."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, hide_secrets, renderer],
                "foreign_pre_chain": shared,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"level": level, "propagate": True, "handlers": []},
            "django.server": {"level": "WARNING", "propagate": True, "handlers": []},
            "django_structlog": {"level": "WARNING"},
            "django-q": {"level": "WARNING"},
            "stripe": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
        },
    }


def start_sentry(dsn: str) -> None:
    """Send unexpected errors to Sentry, without personal data, local variables or request bodies."""
    import sentry_sdk

    sentry_sdk.init(dsn=dsn, send_default_pii=False, include_local_variables=False, max_request_body_size="never")
