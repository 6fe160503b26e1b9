"""Ratios of one month, exact: what was kept, what was lost, and how gains compare with losses."""

from __future__ import annotations

from fractions import Fraction


def nrr(*, opening: int, expansion: int, contraction: int, churn: int) -> Fraction | None:
    """Return net retention: what the opening customers pay at the end ÷ what they paid at the start.

    All amounts in micros of one currency, from balances at both ends (the netted view), losses negative; None without
    opening MRR.
    """
    return _quotient(opening + expansion + contraction + churn, opening)


def grr(*, opening: int, contraction: int, churn: int) -> Fraction | None:
    """Return gross retention: the same customers, gains left out, so at most 1; None without opening MRR."""
    return _quotient(opening + contraction + churn, opening)


def logo_churn(*, opening_customers: int, churned_customers: int) -> Fraction | None:
    """Return the share of the opening customers that pay nothing at the end; None without opening customers."""
    return _quotient(churned_customers, opening_customers)


def revenue_churn(*, opening: int, lost: int) -> Fraction | None:
    """Return the share of opening MRR that was lost (losses negative); None without opening MRR."""
    return _quotient(-lost, opening)


def quick_ratio(*, new: int, expansion: int, reactivation: int, contraction: int, churn: int) -> Fraction | None:
    """Return gains ÷ losses of the month in the chosen view (losses negative); None when nothing was lost."""
    return _quotient(new + expansion + reactivation, -(contraction + churn))


def arpa(*, mrr: int, customers: int) -> Fraction | None:
    """Return MRR in micros per paying customer; None without customers."""
    return _quotient(mrr, customers)


def decimal_text(value: Fraction | None, *, places: int = 6) -> str | None:
    """Write a ratio as plain decimal text, rounded half-even: `0.333333`; None stays None, never 0."""
    if value is None:
        return None
    scaled = round(value * 10**places)
    digits = str(abs(scaled)).rjust(places + 1, "0")
    return f"{'-' if scaled < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _quotient(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole > 0 else None
