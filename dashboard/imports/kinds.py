"""The kinds of files that can be imported, and who may."""

from __future__ import annotations

from typing import Final

from dashboard.imports.finance import FINANCE
from dashboard.imports.form import Kind
from dashboard.imports.matches import MATCHES
from dashboard.imports.rates import RATES
from dashboard.imports.usage import USAGE
from dashboard.roles import Ability

NEEDS: Final = {
    FINANCE: Ability.CLOSE,
    RATES: Ability.CLOSE,
    USAGE: Ability.MATCH,
    MATCHES: Ability.MATCH,
}
KINDS: Final[dict[str, Kind]] = {kind.key: kind for kind in NEEDS}
