"""From what was written to the words that are said."""
