"""Few-shot benchmarks: recognition, synthesis and intents after solved examples (Spirit LM, appendix B)."""
