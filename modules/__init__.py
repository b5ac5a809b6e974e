"""LightningModules: one per network that is trained or run over a corpus."""
