"""`manage.py` with a watchdog that loses patience sooner, so that a test of it need not wait as long as an operator.

python -m tests.impatient serve … does what `manage.py serve …` does; the watchdog's periods are SHORTER times as long.
"""

from __future__ import annotations

import os
import sys

SHORTER = 0.4
PERIODS = ("LOOK_SECONDS", "BEAT_SECONDS", "OVERDUE_SECONDS")


def main() -> None:
    import django
    from django.core.management import execute_from_command_line

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from config import watchdog

    for name in PERIODS:
        setattr(watchdog, name, SHORTER * getattr(watchdog, name))
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
