"""The product's settings for tests: nothing of the developer's own .env, fixed keys, a fast password hash."""

import os
import tempfile

os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="ledger-tests-"))
os.environ.setdefault("DATABASE_URL", f"sqlite:///{os.environ['DATA_DIR']}/ledger.sqlite3")
if os.environ.get("REDIS_URL"):
    # Tests that run side by side must not share log-in limits: each process has its own of Redis' sixteen databases.
    _worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].rsplit('/', 1)[0]}/{8 + _worker % 4}"
# No test cuts the power: PostgreSQL need not wait for the disk, neither here nor for the processes that tests start.
os.environ.setdefault("PGOPTIONS", "-c synchronous_commit=off")
os.environ |= {
    "SECRET_KEY": "only-for-tests-only-for-tests-only-for-tests-only-for-tests",
    "FIELD_ENCRYPTION_KEYS": "dGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtMTI=",
    "DEBUG": "false",
    "BASE_URL": "http://127.0.0.1:8000",
    "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
    "REPORTING_TIME_ZONE": "UTC",
    "REPORTING_CURRENCY": "usd",
    "EMAIL_URL": "memorymail://",
    "STRIPE_API_BASE": "",
    "SLACK_BOT_TOKEN": "",
    "SLACK_API_BASE": "",
    "SENTRY_DSN": "",
    "LOG_LEVEL": "WARNING",
    "LOG_FORMAT": "console",
    "COMPANY_NAME": "",
    "FISCAL_YEAR_START": "01-01",
}

from config.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
NUDGES_ENABLED = False  # tests drain by themselves; a thread of ours would write beside them
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
