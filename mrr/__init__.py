"""What it is worth: engine and ledger."""
