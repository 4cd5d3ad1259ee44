"""Corpora of any size: the count of texts in constant memory, over processes or machines, resumable.

    inputs → shards (sources) → prompts (survey) → documents and pairs of each shard (scoring) → all pairs (pooling)

Never imports torch; transformers only for a tokenizer that is no plain one. ADR 18.
"""
