"""The first verifier of evidence bundles (ADR 15). What was verified is what is parsed, and nothing is fetched."""
