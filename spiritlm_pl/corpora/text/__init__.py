"""Text normalisation: from written transcripts to the words that are said."""
