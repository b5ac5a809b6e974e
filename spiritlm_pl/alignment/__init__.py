"""Word (and phone) times for a corpus."""
