"""An installation whose one worker may be killed at any moment: a parent that forks it anew, and a web server beside.

python -m tests.killable ORG_URL CLIENT_ID CLIENT_SECRET prints {"port", "token"} and then {"worker": process id} for
each worker, one JSON object a line. It ends when its standard input does. The worker's clock for sending runs a minute
a second, so that the lease of a killed one ends soon; a call to the fake takes far less than a lease.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

FASTER = 60
SECRET = "whsec_killable_0123456789"


def main(org_url: str, client_id: str, client_secret: str) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.utils import timezone

    from config import serve
    from crm import connections
    from crm.models import SalesforceOrg

    call_command("migrate", verbosity=0)
    call_command("add_source", "acme", "--label=Acme", f"--signing-secret={SECRET}", stdout=sys.stderr)
    login = connections.Login(instance_url=org_url, client_id=client_id, client_secret=client_secret)
    connections.connect(login, mode="live", now=timezone.now())
    SalesforceOrg.objects.update(write_allowance=1_000_000)
    listener = serve.listen("127.0.0.1:0")
    serve.share_memory()
    children = [_forked(lambda: serve.run_web(listener, 1))]
    tell(port=listener.getsockname()[1], token=_token())
    threading.Thread(target=_end_with_input, args=(children,), daemon=True).start()
    began = timezone.now()
    while True:
        worker = _forked(lambda: _work(began))
        children[1:] = [worker]
        tell(worker=worker)
        os.waitpid(worker, 0)


def tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)


def _work(began: datetime) -> None:
    """Drain as a worker does, for ever."""
    from django.utils import timezone

    from config import pipeline

    while True:
        now = timezone.now()
        if not (pipeline.drain_inbox() + pipeline.drain_outbox(now=now + FASTER * (now - began))):
            time.sleep(timedelta(milliseconds=5).total_seconds())


def _forked(run: Callable[[], None]) -> int:
    from django.db import connections

    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(1)
    return pid


def _token() -> str:
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from dashboard.api import tokens
    from dashboard.roles import Role

    user = get_user_model().objects.create_superuser("script", password="x")
    return tokens.make(user, Role.ADMIN, days=1, now=timezone.now()).text


def _end_with_input(children: list[int]) -> None:
    sys.stdin.read()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:4])
