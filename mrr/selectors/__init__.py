"""What the ledger says, as frozen rows for pages, the API and whoever tells others.

Every function takes `sources` (keys of Stripe sources); without it all live sources are meant, test sources only when named.
"""
