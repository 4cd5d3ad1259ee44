"""Validation: how often the tests err where nothing is marked, and how often they find what is."""
