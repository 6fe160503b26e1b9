"""What the ledger says, as frozen rows for pages, the API and whoever tells others.

Every function takes `sources` (keys of Stripe sources); without it all live sources are meant: test sources only count
when they are named.
"""

from mrr.cohorts import Average, Cell, Cohort, Measure
from mrr.fx import Conversion
from mrr.selectors.behind import Share, Shares, balance_shares, cohort_shares, scheduled_shares
from mrr.selectors.clock import due_by_the_clock
from mrr.selectors.closing import (
    Asked,
    Carried,
    ClosedMonth,
    Restated,
    Restatement,
    carried,
    closed_months,
    closed_through,
    reopening_asked,
    restatements,
    waiting_reopening,
)
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
from mrr.selectors.policy import FIRST_POLICY, newest_policy, policy_version
from mrr.selectors.proof import Proof, incomplete_balances, proof
from mrr.selectors.reporting import (
    ConvertedTotal,
    Part,
    balance_parts,
    converted_movements,
    converted_total,
    exchange,
    parts_of,
)
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
from mrr.selectors.totals import Amounts, ConvertedMrr, CurrencyMrr, CurrencyPart, Gap, Mrr, converted_mrr, gaps, mrr_at

__all__ = [
    "FIRST_POLICY",
    "Amounts",
    "Asked",
    "Average",
    "Balance",
    "Basis",
    "Carried",
    "Cell",
    "ClosedMonth",
    "Cohort",
    "Cohorts",
    "Conversion",
    "ConvertedMrr",
    "ConvertedTotal",
    "CurrencyMrr",
    "CurrencyPart",
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
    "Part",
    "Place",
    "Proof",
    "Restated",
    "Restatement",
    "Series",
    "Share",
    "Shares",
    "Standing",
    "View",
    "balance_parts",
    "balance_shares",
    "balances",
    "carried",
    "closed_months",
    "closed_through",
    "cohort_shares",
    "cohorts",
    "converted_movements",
    "converted_mrr",
    "converted_total",
    "currencies",
    "customers",
    "day_start",
    "due_by_the_clock",
    "exchange",
    "gaps",
    "incomplete_balances",
    "latest_movements",
    "movement",
    "movement_totals",
    "movements",
    "movements_of",
    "movements_of_event",
    "mrr_at",
    "mrr_by_subscription",
    "newest_policy",
    "parts_of",
    "parts_shown",
    "paying_customers",
    "policy_version",
    "proof",
    "reopening_asked",
    "reporting_zone",
    "restatements",
    "scheduled_shares",
    "series",
    "standing",
    "waiting_reopening",
]
