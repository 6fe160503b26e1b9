"""Exports hold exact numbers, and no text of theirs is run by a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from openpyxl import load_workbook

from dashboard import exports

AT = datetime(2026, 3, 12, 9, 14, 5, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Dublin")


@pytest.mark.parametrize(
    "attack",
    [
        '=HYPERLINK("https://evil.example";"see")',
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        " =1+1",
        "\uff1d1+1",
    ],
)
def test_a_text_that_begins_like_a_formula_is_disarmed(attack: str) -> None:
    assert exports.safe(attack) == f"'{attack}"

    (_, row) = csv.reader(io.StringIO("".join(exports.csv_lines(["name"], [[attack]])), newline=""))
    assert row[0].startswith("'")

    book = load_workbook(io.BytesIO(exports.workbook(["name"], [[attack]], about=[("Page", attack)], zone=ZONE)))
    assert book["Rows"]["A2"].data_type == "s"
    assert book["About"]["B1"].data_type == "s"


@pytest.mark.parametrize("name", ["Acme", "O'Neill & Sons", "a=b", "1-800", "", "Zoë"])
def test_other_texts_stay_as_they_are(name: str) -> None:
    assert exports.safe(name) == name


def test_a_csv_holds_exact_values() -> None:
    rows = [
        [
            "Acme, Inc.",
            exports.major(-54_000, "usd"),
            12_345_678_901_234_567,
            date(2026, 3, 1),
            AT,
            Fraction(1, 3),
            None,
        ]
    ]

    text = "".join(exports.csv_lines(["a", "b", "c", "d", "e", "f", "g"], rows))

    assert text.splitlines()[1] == (
        '"Acme, Inc.",-540.00,12345678901234567,2026-03-01,2026-03-12T09:14:05+00:00,0.333333,'
    )


def test_an_xlsx_holds_numbers_as_numbers_and_long_ones_as_text() -> None:
    rows = [["Acme\x00", Decimal("-540.00"), 12_345_678_901_234_567, AT, True]]

    file = exports.workbook(["a", "b", "c", "d", "e"], rows, about=[("Page", "Movements")], zone=ZONE)

    sheet = load_workbook(io.BytesIO(file))["Rows"]
    assert [cell.value for cell in sheet[2]] == [
        "Acme",
        -540,
        "12345678901234567",
        datetime(2026, 3, 12, 9, 14, 5),
        "yes",
    ]


def test_a_file_is_named_and_not_kept_by_browsers() -> None:
    answer = exports.response("csv", name="movements-2026-03", columns=["a"], rows=[[1]], about=[], zone=ZONE)

    assert answer["Content-Disposition"] == 'attachment; filename="movements-2026-03.csv"'
    assert answer["Cache-Control"] == "no-store"
    assert b"".join(answer) == b"a\r\n1\r\n"  # type: ignore[arg-type]
