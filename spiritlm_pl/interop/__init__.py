"""Exchange with other tools: the published release, Hugging Face, DeepSpeed."""
