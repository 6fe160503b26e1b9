"""The demo company: its story, its Accounts, and how both get in by the front door."""
