"""The app that wires the others together and holds the commands that concern them all."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"
    verbose_name = "Configuration"

    def ready(self) -> None:
        import warnings

        from billing import backfill, webhook
        from config import machine as our_machine
        from config.nudge import nudge
        from dashboard import machine
        from dashboard.imports import applying

        warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)  # no collectstatic needed
        webhook.after_keep = lambda: nudge("inbox")
        backfill.wake = lambda: nudge("listings")
        applying.wake = lambda: nudge("imports")
        machine.look = our_machine.look
