"""What the rooms ask of each other, one contract a file: batches, data modules, tokenizers, vocoders, judges."""
