from __future__ import annotations

from crm import scoring
from crm.scoring import evidence


def test_evidence_is_gathered_by_account_the_best_first():
    found = scoring.candidates(
        [
            ("001B", "Beta", evidence("company_name", "The names agree")),
            ("001A", "Acme", evidence("website_domain", "Same domain")),
            ("001A", "Acme", evidence("company_name", "The names agree")),
            ("001A", "Acme", evidence("company_name", "said twice")),
        ]
    )

    assert [(one.account_id, one.score) for one in found] == [("001A", 80), ("001B", 35)]
    assert found[0].as_json()["reasons"][1] == {"kind": "company_name", "weight": 35, "text": "The names agree"}
