"""The whole path in miniature, stage by stage."""
