"""Who is told: matching, the outbox, the channels, risk."""
