"""Cuts the time that a list spans into windows that are read side by side, each by its own cursor. Pure.

One cursor is sequential: at a tenth of a second a page it reads a thousand objects a second at best. A window is cut in
two only while it seems to hold several pages more, so that hardly a call is spent on a page that is nearly empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

PAGE: Final = 100
WORTH_A_CUT: Final = 4 * PAGE


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds of `created` from `first` to `last`, both included, read newest first.

    `cursor` is the id of the object read last, `read_to` its `created`, `read` how many were read in this window.
    """

    first: int
    last: int
    cursor: str = ""
    read_to: int | None = None
    read: int = 0

    @property
    def left(self) -> int:
        """Roughly how many objects are still to be read, if they lie as densely as those that were."""
        if self.read_to is None:
            return 0
        return self.read * (self.read_to - self.first) // (self.last - self.read_to + 1)


def after_page(window: Window, *, count: int, last_id: str, last_created: int, has_more: bool) -> Window | None:
    """Return what is left of a window after one page of `count` objects, the last of them named; None when nothing."""
    if not has_more or not count:
        return None
    return replace(window, cursor=last_id, read_to=last_created, read=window.read + count)


def cut(window: Window) -> tuple[Window, Window] | None:
    """Cut what is left of a window in two halves of time, the newer first; None when that is not worth a call.

    The newer half goes on from the cursor. The older begins anew: no object lies in both.
    """
    if window.read_to is None or window.left < WORTH_A_CUT or window.read_to - window.first < 2:
        return None
    middle = window.first + (window.read_to - window.first) // 2
    newer = replace(window, first=middle + 1)
    return newer, Window(window.first, middle)
