"""What the rooms ask of each other: tokenizers, batches."""
