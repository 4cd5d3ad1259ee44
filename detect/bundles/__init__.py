"""Evidence bundles (ADR 15): the case that they come from, how they are sealed, and how they are read."""
