"""Taggant against its peers in one run: `python -m benchmarks.peers`.

Every library runs in a process of its own (`workers/`), the peers in virtual environments of their own: their pins
contradict ours and each other's, and older versions of one bring a top-level package `watermark`. The environments see
the torch, transformers and NumPy of this interpreter, so that all run on the same.
"""
