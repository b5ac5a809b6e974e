"""Models for other tools, and models of other tools: the published release, Hugging Face, DeepSpeed."""
