"""Measures the product beside a bare view, in one run on one machine."""
