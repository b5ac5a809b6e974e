"""The published Spirit LM checkpoints as they are."""
