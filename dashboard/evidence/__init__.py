"""The evidence of a closed month: one archive that opens offline and proves itself."""

from dashboard.evidence.archive import stream

__all__ = ["stream"]
