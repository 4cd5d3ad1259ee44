"""Thousands of accounts' keys before one observation: which they are, how they score, and how the scores are judged."""
