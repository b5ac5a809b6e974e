"""Low-rank adapters (LoRA) of language models: training, folders that the library peft opens, merging."""
