"""The `spiritlm` command: the only place that knows all rooms."""
