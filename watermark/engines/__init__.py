"""Where the mark meets an inference engine. Everything here imports torch; the core of `watermark` never does."""
