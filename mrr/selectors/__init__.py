"""What the ledger says, as frozen rows for pages, the API and whoever tells others.

Every function takes `sources` (keys of Stripe sources); without it all live sources are meant: test sources only count
when they are named.
"""

from mrr.cohorts import Average, Cell, Cohort, Measure
from mrr.selectors.behind import Share, Shares, balance_shares, cohort_shares, scheduled_shares
from mrr.selectors.customer_list import (
    Balance,
    CustomerPage,
    CustomerPlace,
    CustomerRow,
    balances,
    customers,
    paying_customers,
)
from mrr.selectors.heat_map import Cohorts, cohorts
from mrr.selectors.months import Basis, Customers, Month, Series, View, currencies, parts_shown, series
from mrr.selectors.schedule import (
    Line,
    Movement,
    MovementFilter,
    MovementPage,
    MovementTotal,
    Place,
    latest_movements,
    movement,
    movement_totals,
    movements,
    movements_of,
    movements_of_event,
    mrr_by_subscription,
)
from mrr.selectors.scope import day_start, reporting_zone
from mrr.selectors.standing import Standing, standing
from mrr.selectors.totals import CurrencyMrr, Gap, Mrr, gaps, mrr_at

__all__ = [
    "Average",
    "Balance",
    "Basis",
    "Cell",
    "Cohort",
    "Cohorts",
    "CurrencyMrr",
    "CustomerPage",
    "CustomerPlace",
    "CustomerRow",
    "Customers",
    "Gap",
    "Line",
    "Measure",
    "Month",
    "Movement",
    "MovementFilter",
    "MovementPage",
    "MovementTotal",
    "Mrr",
    "Place",
    "Series",
    "Share",
    "Shares",
    "Standing",
    "View",
    "balance_shares",
    "balances",
    "cohort_shares",
    "cohorts",
    "currencies",
    "customers",
    "day_start",
    "gaps",
    "latest_movements",
    "movement",
    "movement_totals",
    "movements",
    "movements_of",
    "movements_of_event",
    "mrr_at",
    "mrr_by_subscription",
    "parts_shown",
    "paying_customers",
    "reporting_zone",
    "scheduled_shares",
    "series",
    "standing",
]
