"""Copies of the database: written while everything runs, put back on either kind of database, and brought up to now."""
