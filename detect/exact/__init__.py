"""Exact statistics: pure functions of numbers, no torch, no files. Every tail is in log10 and never clipped."""
