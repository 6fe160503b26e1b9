"""How fast a day's calls may go: at once while the day can afford it, then slower, never past the allowance. Pure."""

from __future__ import annotations

from dataclasses import dataclass

DAY_SECONDS = 86_400
SLOWEST_SECONDS = 30.0  # 2,880 calls a day, whatever happens
BURST_CALLS = 30  # that may go together after a pause
HORIZON_SECONDS = 600.0  # what the day can spare is spread over so long, so that a rush is slowed before it is stopped
CALL = 1000  # credit is kept in thousandths of a call
SOFT_SHARE = 5  # sending slows when less than a fifth of the org's calls above the reserve is left


@dataclass(frozen=True, slots=True)
class Day:
    """Where a day stands: calls made of how many allowed, and seconds until it ends. `is_scarce`: the org runs low."""

    spent: int
    allowance: int
    seconds_left: float
    is_scarce: bool = False

    @property
    def burst(self) -> int:
        """Calls that may go together."""
        return max(1, min(BURST_CALLS, self.allowance // 10))

    @property
    def slowest_seconds(self) -> float:
        """The longest gap between two calls: small allowances stretch it."""
        return max(SLOWEST_SECONDS, DAY_SECONDS / max(1, self.allowance - self.burst))

    @property
    def slack(self) -> float:
        """Calls left beyond those of the slowest pace until the day ends."""
        return self.allowance - self.burst - self.spent - self.seconds_left / self.slowest_seconds

    @property
    def per_second(self) -> float:
        """Calls that may go each second now."""
        spare = 0.0 if self.is_scarce else max(0.0, self.slack)
        return spare / HORIZON_SECONDS + 1 / self.slowest_seconds


def credit_after(credit: int, *, idle_seconds: float, day: Day) -> int:
    """Return what may go at once after a pause, in thousandths of a call.

    Calls made plus credit plus those of the slowest pace never exceed the allowance: credit grows by what the day can
    spare alone.
    """
    most = CALL if day.is_scarce else day.burst * CALL
    return min(most, credit + int(max(0.0, idle_seconds) * day.per_second * CALL))


def wait_seconds(credit: int, *, day: Day) -> float:
    """Return how long until one call may go; 0 when it may go now."""
    return max(0.0, (CALL - credit) / CALL / day.per_second)


def is_scarce(*, used: int | None, limit: int | None, reserve: int) -> bool:
    """Say whether the org's own calls run low: sending slows before it stops at the reserve."""
    if used is None or limit is None:
        return False
    above = limit - min(reserve, limit // 2)
    return (above - used) * SOFT_SHARE < above


def is_spent(*, used: int | None, limit: int | None, reserve: int) -> bool:
    """Say whether another call would touch the reserve; a reserve of more than the org has leaves half of it."""
    return used is not None and limit is not None and limit - used <= min(reserve, limit // 2)


def forecast(day: Day, *, lately: int, lately_seconds: float) -> int:
    """Return how many calls the day will have taken if it goes on as lately, within what the pace lets through."""
    rate = lately / max(1.0, lately_seconds)
    rest = min(rate * day.seconds_left, max(0.0, day.allowance - day.spent))
    return day.spent + round(rest)
