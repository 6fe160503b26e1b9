"""What Stripe told us: inbox and mirror."""
