"""CSV files that people bring: one form for all kinds, each kind in a file of its own."""
