"""Text tokenizers of several libraries behind one interface, and their form in an exported model."""
