"""Serves web and workers as one process tree."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import install, serve


class Command(BaseCommand):
    help = (
        "Migrate, then serve web, workers and their watchdog as one process tree until SIGTERM or Ctrl-C. "
        "--web 0 or --workers 0 leaves that part to another machine."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1:8000", metavar="HOST:PORT", help="default 127.0.0.1:8000")
        parser.add_argument("--web", type=int, default=2, metavar="N", help="web processes, default 2")
        parser.add_argument("--workers", type=int, default=2, metavar="N", help="worker processes, default 2")

    def handle(self, *args: Any, bind: str, web: int, workers: int, **options: Any) -> None:
        if web < 0 or workers < 0 or web + workers == 0:
            raise CommandError("There must be at least one web process or one worker.", returncode=2)
        try:
            listener = serve.listen(bind) if web else None
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        except OSError as error:
            raise CommandError(f"{bind} cannot be opened: {error.strerror}. Choose another with --bind.") from error
        install.bring_up_to_date()
        if web:
            address = install.address(bind)
            if link := install.new_setup_link(address):
                self.stdout.write(f"Nobody can log in yet. Set up the first administrator, once, at\n  {link}")
            self.stdout.write(f"Serving on {address} (stop with Ctrl-C)")
        else:
            self.stdout.write(f"{workers} workers are running (stop with Ctrl-C)")
        self.stdout.flush()
        serve.share_memory()
        serve.serve(listener, web=web, workers=workers)
