"""How much room tables take."""

from __future__ import annotations

import pytest

from billing import selectors as billing

pytestmark = pytest.mark.django_db


def test_every_table_is_told_with_its_bytes_the_largest_first(django_assert_num_queries):
    with django_assert_num_queries(1):
        sizes = billing.table_sizes()

    assert {"billing_stripeevent", "mrr_ledgerentry", "crm_loggedwrite"} <= {size.name for size in sizes}
    assert [size.bytes for size in sizes] == sorted((size.bytes for size in sizes), reverse=True)
