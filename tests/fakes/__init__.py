"""Strict stand-ins for Stripe, Salesforce and Slack that our tests talk to over real HTTP(S).

    with FakeSalesforce() as org:                                       # TLS: trust org.ca_file, by REQUESTS_CA_BUNDLE
        account = org.add_account(Name="Acme")
        org.cuts_next("response", match="composite")                    # it took effect, nobody hears of it
        assert org.records("MRR_Schedule__c", Account__c=account) and org.calls == 1

Each also runs as a process: python -m tests.fakes.salesforce --port N --state FILE --ca FILE. It prints its address,
and /__control/ there shows requests and records and plans trouble (`FakeServer._controlled`, `control` of each fake).
"""
