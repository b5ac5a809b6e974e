"""LightningDataModules: one corpus, several views of it."""
