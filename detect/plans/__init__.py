"""The plan of an examination: its parts, what they say together, and the checks against it."""
