"""LightningDataModules: several views of one corpus."""
