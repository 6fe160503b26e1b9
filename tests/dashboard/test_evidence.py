"""The evidence of a closed month: an archive that opens with no network, proves itself and finds changes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from dashboard.roles import Role
from mrr import fx, selectors
from mrr.engine.rates import Quote
from mrr.models import BookAction
from tests.dashboard.people import api, person
from tests.dashboard.test_close import asks, client_of, comes_late, march, signs
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
__all__ = ["march"]


@pytest.fixture
def books() -> Scenario:
    """January and February closed: two currencies, a contraction, a churn, a note and a late start."""
    fx.store([Quote(date(2026, month, 28), "eur", "usd", "1.10", "manual") for month in (1, 2)])
    found = Scenario("acme")
    ada = found.customer("Ada Rockets", on="2026-01-05")
    ada.subscribes("team", monthly="100.00", on="2026-01-10")
    gone = found.customer("Gone Fishing", on="2026-01-05")
    gone.subscribes("team", monthly="33.33", on="2026-01-11")
    found.customer("Euro Trains", on="2026-02-05").subscribes("team", yearly="500.00", on="2026-02-10", currency="eur")
    finance = client_of(person(Role.FINANCE, "fiona"))
    signs(finance, "2026-01", note="First month")
    comes_late(found, monthly="7.77", on="2026-01-20")
    gone.cancels(on="2026-02-12")
    ada.moves_to("solo", monthly="60.00", on="2026-02-20")
    signs(finance, "2026-02")
    return found


def archive(month: str = "2026-02") -> bytes:
    answer = client_of(person(Role.ANALYST, f"ana-{month}")).get(f"/dashboard/close/{month}/evidence.zip")
    assert answer["Content-Type"] == "application/zip"
    return b"".join(answer.streaming_content)


def unpacked(raw: bytes, folder: Path) -> Path:
    with ZipFile(io.BytesIO(raw)) as found:
        assert found.testzip() is None
        found.extractall(folder)
    return folder


def verified(folder: Path) -> tuple[int, str]:
    """Run the script as an auditor does: isolated from our code, in a process that cannot open a connection."""
    no_network = "import socket, runpy; socket.socket = None; runpy.run_path('verify.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-I", "-c", no_network.replace("'verify.py'", repr(str(folder / "verify.py")))],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("month", ["2026-01", "2026-02"])
def test_the_archive_proves_itself_with_python_alone(books: Scenario, tmp_path: Path, month: str) -> None:
    folder = unpacked(archive(month), tmp_path)

    code, said = verified(folder)

    digest = BookAction.objects.get(kind="closed", month=f"{month}-01").digest
    assert (code, digest in said) == (0, True), said
    assert sorted(path.name for path in folder.iterdir()) == [
        "closes.json",
        "entries.csv",
        "events.csv",
        "index.html",
        "manifest.json",
        "policy.json",
        "rates.json",
        "style.css",
        "verify.py",
    ]


def test_it_opens_offline_says_who_and_when_and_names_no_customer(books: Scenario, tmp_path: Path) -> None:
    folder = unpacked(archive(), tmp_path)

    page = (folder / "index.html").read_text()
    everything = "".join(path.read_text() for path in folder.iterdir())

    assert "Closed by fiona on 20 Mar 2026" in page
    assert "http" not in page and 'src="' not in page
    assert json.loads((folder / "manifest.json").read_text())["made_by"] == "ana-2026-02"
    assert "Ada Rockets" not in everything and "Late Harbor" not in everything
    assert len(list(csv.DictReader((folder / "events.csv").open()))) >= 4


def rewritten(folder: Path, name: str, change: Callable[[str], str], *, hides: bool) -> None:
    """Change a file; with `hides`, its hash in the manifest too, as somebody would who wants it unseen."""
    import hashlib

    path = folder / name
    with path.open(newline="") as file:
        before = file.read()
    after = change(before)
    assert after != before
    with path.open("w", newline="") as file:
        file.write(after)
    if hides:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name]["sha256"] = hashlib.sha256(after.encode()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("hides", [False, True])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("entries.csv", lambda text: text.replace("-4000000000", "-3000000000", 1)),
        ("entries.csv", lambda text: text.replace("contraction", "churn", 1)),
        ("entries.csv", lambda text: "".join(text.splitlines(keepends=True)[:-1])),
        ("events.csv", lambda text: text.replace(text.splitlines()[1][-8:], "00000000", 1)),
        ("closes.json", lambda text: text.replace('"churn_micros": -3333000000', '"churn_micros": -2333000000', 1)),
        ("closes.json", lambda text: text.replace('"made_by_id": ', '"made_by_id": 9', 1)),
        ("closes.json", lambda text: text.replace("First month", "Last month", 1)),
        ("rates.json", lambda text: text.replace("11/10", "12/10", 1)),
        ("index.html", lambda text: text.replace('data-micros="-3333000000"', 'data-micros="-2333000000"', 1)),
    ],
)
def test_a_change_of_one_thing_is_found(books: Scenario, tmp_path: Path, name: str, change: Any, hides: bool) -> None:
    folder = unpacked(archive(), tmp_path)
    rewritten(folder, name, change, hides=hides)

    code, said = verified(folder)

    assert code == 1, said
    assert "FAILS:" in said


def test_a_month_reopened_and_closed_anew_proves_its_last_close(books: Scenario, tmp_path: Path) -> None:
    fiona = BookAction.objects.order_by("number")[0].made_by
    asks(client_of(fiona))
    asks(client_of(Role.ADMIN), asked=BookAction.objects.latest("number").number)
    books.customer("Bob", on="2026-02-14").subscribes("team", monthly="10.00", on="2026-02-14")
    books.customer("Cleo", on="2026-01-14").subscribes("team", monthly="20.00", on="2026-01-14")
    signs(client_of(fiona), "2026-02")

    code, said = verified(unpacked(archive(), tmp_path))

    assert code == 0, said


def test_it_is_there_for_closed_months_and_those_who_may_export(books: Scenario) -> None:
    asked = {role: client_of(role).get("/dashboard/close/2026-02/evidence.zip").status_code for role in Role}
    finance = client_of(person(Role.FINANCE, "frank"))
    missing = [finance.get(f"/dashboard/close/{month}/evidence.zip").status_code for month in ("2026-03", "nonsense")]

    assert asked == {role: 403 if role is Role.VIEWER else 200 for role in Role}
    assert missing == [404, 404]


def test_the_api_lists_closes_with_what_is_known_now_and_where_the_evidence_is(books: Scenario) -> None:
    late = books.customer("Last Minute", on="2026-02-20")
    late.subscribes("team", monthly="5.00", on="2026-02-20")

    found = api(Role.VIEWER).get("/api/v1/closes").json()

    first, second = found["closes"]
    assert (found["closed_through"], first["month"], second["month"]) == ("2026-02", "2026-02", "2026-01")
    assert first["evidence_url"].endswith("/dashboard/close/2026-02/evidence.zip")
    dollars = next(one for one in first["currencies"] if one["currency"] == "usd")
    assert dollars["now_micros"] - dollars["signed_micros"] == 500_000_000


def test_memory_does_not_grow_with_the_entries(books: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the month again and again, a hundred thousand: the pieces held at once stay as small."""
    from dashboard.evidence import archive as writing

    closed = selectors.closed_month(date(2026, 2, 1))
    assert closed is not None
    rows = list(writing.evidence.entry_rows(closed.month))

    def peak(times: int) -> int:
        monkeypatch.setattr(writing.evidence, "entry_rows", lambda _month: (row for _ in range(times) for row in rows))
        tracemalloc.start()
        for piece in writing.stream(closed, by="ana", now=closed.closed_at):
            assert len(piece) < 1_000_000
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(20_000 // len(rows)) < 1.5 * peak(1_000 // len(rows)) + 500_000
