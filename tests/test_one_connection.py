"""A browser runs an event loop in the tests' thread: the tests keep their one connection all the same."""

from __future__ import annotations

import pytest
from django.db import connections


@pytest.mark.browser
def test_the_connection_stays_the_same_while_a_browser_runs(db, request):
    before = connections["default"]

    request.getfixturevalue("playwright")

    assert connections["default"] is before
