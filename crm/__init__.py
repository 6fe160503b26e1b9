"""Who is told: matches, outbox and channels."""
