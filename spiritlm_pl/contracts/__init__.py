"""Contracts between the rooms, one a file: batches, data modules, tokenizers, vocoders, objectives, modules."""
