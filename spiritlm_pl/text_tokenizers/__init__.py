"""Text tokenizers: ids of words, whatever library they come from, and the one that an export has."""
