"""Shows a progress bar on a terminal, and nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def bar(title: str, *, total: float | None) -> Iterator[Callable[[float], None]]:
    """Show a bar on standard error while the block runs; it is given a function that moves it on."""
    if not sys.stderr.isatty():
        yield lambda _more: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda more: progress.advance(task, more)


Counters = Callable[[Mapping[str, int]], None]


@contextmanager
def counters(title: str) -> Iterator[Counters]:
    """Show named counts on standard error while the block runs; it is given a function that takes them."""
    if not sys.stderr.isatty():
        yield lambda _counts: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    known: dict[str, int] = {}
    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:

        def show(counts: Mapping[str, int]) -> None:
            known.update(counts)
            table = Table(title=title, show_header=False, box=None)
            for name, count in known.items():
                table.add_row(name, f"{count:,}")
            live.update(table, refresh=True)

        yield show
