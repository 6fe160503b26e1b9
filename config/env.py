"""Reads every environment variable of the product, once, with its default."""

from __future__ import annotations

import sys
from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = BASE_DIR / "data"

_env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")  # real variables win over the file

DATA_DIR = Path(_env.str("DATA_DIR", default=str(DATA_DIR)))

DEBUG: bool = _env.bool("DEBUG", default=False)
DATABASE_URL: str = _env.str("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'ledger.sqlite3'}")
REDIS_URL: str = _env.str("REDIS_URL", default="")
ALLOWED_HOSTS: list[str] = _env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
BASE_URL: str = _env.str("BASE_URL", default="http://127.0.0.1:8000").rstrip("/")
REPORTING_TIME_ZONE: str = _env.str("REPORTING_TIME_ZONE", default="UTC")
REPORTING_CURRENCY: str = _env.str("REPORTING_CURRENCY", default="usd").lower()
FISCAL_YEAR_START: str = _env.str("FISCAL_YEAR_START", default="01-01")
COMPANY_NAME: str = _env.str("COMPANY_NAME", default="")
STRIPE_API_BASE: str = _env.str("STRIPE_API_BASE", default="")
SLACK_BOT_TOKEN: str = _env.str("SLACK_BOT_TOKEN", default="")
SLACK_API_BASE: str = _env.str("SLACK_API_BASE", default="")
SLACK_CLOSED_WON_CHANNEL: str = _env.str("SLACK_CLOSED_WON_CHANNEL", default="")
CA_FILE: str = _env.str("REQUESTS_CA_BUNDLE", default="")
EMAIL_URL: str = _env.str("EMAIL_URL", default="consolemail://")
DEFAULT_FROM_EMAIL: str = _env.str("DEFAULT_FROM_EMAIL", default="ledger@localhost")
SENTRY_DSN: str = _env.str("SENTRY_DSN", default="")
RAW_BODY_DAYS: int = _env.int("RAW_BODY_DAYS", default=0)
AUDIT_DAYS: int = _env.int("AUDIT_DAYS", default=0)
TASK_DAYS: int = _env.int("TASK_DAYS", default=30)
LOG_LEVEL: str = _env.str("LOG_LEVEL", default="INFO").upper()
LOG_FORMAT: str = _env.str("LOG_FORMAT", default="console")

USES_SQLITE = DATABASE_URL.startswith("sqlite")


def made_once(name: str, make: str) -> str:
    """Return the key kept in a file under data/, making it on first use; only for the embedded default.

    With PostgreSQL several machines share the rows, so keys must come from the environment: settings refuse instead.
    """
    import base64
    import os
    import secrets

    path = DATA_DIR / name
    if not path.exists():
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        key = secrets.token_urlsafe(50) if make == "secret" else base64.urlsafe_b64encode(os.urandom(32)).decode()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was first
            return path.read_text().strip()
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
        sys.stderr.write(f"Made {path} (keep it with your backups: {name} cannot be made again)\n")
    return path.read_text().strip()


SECRET_KEY: str = _env.str("SECRET_KEY", default="")
SECRET_KEY_FALLBACKS: list[str] = _env.list("SECRET_KEY_FALLBACKS", default=[])
FIELD_ENCRYPTION_KEYS: list[str] = _env.list("FIELD_ENCRYPTION_KEYS", default=[])

if USES_SQLITE:
    SECRET_KEY = SECRET_KEY or made_once("secret_key", "secret")
    FIELD_ENCRYPTION_KEYS = FIELD_ENCRYPTION_KEYS or [made_once("field_key", "fernet")]
