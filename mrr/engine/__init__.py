"""Plain functions from what Stripe said to what it did to MRR: no Django, no clock, no I/O."""
