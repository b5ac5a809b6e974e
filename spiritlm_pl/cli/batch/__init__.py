"""Commands over many items: files, folders or JSON lines in, JSON lines out."""
