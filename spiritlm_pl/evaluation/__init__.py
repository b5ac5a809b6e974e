"""Evaluation: what a trained model has learnt, in numbers and pictures."""
