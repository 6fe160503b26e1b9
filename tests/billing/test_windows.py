"""Windows over `created`: whatever is cut, each object is read once, and few calls are spent on pages nearly empty."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from billing import windows
from billing.windows import PAGE, Window

FIRST, LAST = 1_000, 900_000
Object = tuple[int, str]  # created, id


def listed(objects: list[Object], window: Window) -> tuple[list[Object], bool]:
    """One page as Stripe lists it: newest first, within the bounds, after the cursor."""
    rows = [row for row in objects if window.first <= row[0] <= window.last]
    if window.cursor:
        rows = rows[[name for _, name in rows].index(window.cursor) + 1 :]
    return rows[:PAGE], len(rows) > PAGE


def read_all(objects: list[Object], *, side_by_side: int = 4) -> tuple[list[str], int]:
    """Read as the backfill does; returns the ids in the order they came, and how many calls that took."""
    open_windows, read, calls = [Window(FIRST, LAST)], [], 0
    while open_windows:
        window = open_windows.pop(0)
        page, has_more = listed(objects, window)
        calls += 1
        read += [name for _, name in page]
        if not page:
            continue
        created, name = page[-1]
        left = windows.after_page(window, count=len(page), last_id=name, last_created=created, has_more=has_more)
        if left is None:
            continue
        halves = windows.cut(left) if len(open_windows) + 1 < side_by_side else None
        open_windows += halves or [left]
    return read, calls


@given(st.lists(st.integers(FIRST, LAST), max_size=1500), st.integers(1, 6))
def test_each_object_is_read_once_however_they_lie(times, side_by_side):
    objects = [(created, f"o{place}") for place, created in enumerate(sorted(times, reverse=True))]

    read, _ = read_all(objects, side_by_side=side_by_side)

    assert sorted(read) == sorted(name for _, name in objects)


def test_a_growing_account_costs_at_most_twelve_calls_for_a_thousand_objects():
    times = sorted((FIRST + int((LAST - FIRST) * (place / 20_000) ** 0.5) for place in range(20_000)), reverse=True)
    objects = [(created, f"o{place}") for place, created in enumerate(times)]

    read, calls = read_all(objects)

    assert len(read) == 20_000
    assert calls <= 20_000 / PAGE * 1.2


def test_a_window_is_cut_only_while_it_seems_to_hold_several_pages_more():
    window = Window(FIRST, LAST, cursor="o99", read_to=LAST - 100_000, read=PAGE)

    assert windows.cut(window) is not None
    assert windows.cut(Window(FIRST, LAST, cursor="o99", read_to=FIRST + 200, read=PAGE)) is None
