"""Strict stand-ins for Stripe, Salesforce and Slack that our tests talk to over real HTTP(S)."""
