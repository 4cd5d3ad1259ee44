"""A study: many conditions × seeds × keys, one graph of stages, one set of tables.

file (TOML) → scales (what teacher and students start from) → cells (authors → students → examiners), a graph
making, judging, costs: what the stages do → run (all of it in one directory)
"""
