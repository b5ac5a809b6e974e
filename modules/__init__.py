"""LightningModules, one for each network that is trained or run over a corpus."""
