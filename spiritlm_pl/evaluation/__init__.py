"""Measures and plots of what a trained model has learnt."""
