"""Measure this package and its peers side by side."""
