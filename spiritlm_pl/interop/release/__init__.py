"""Reading of the published Spirit LM checkpoints as they are."""
