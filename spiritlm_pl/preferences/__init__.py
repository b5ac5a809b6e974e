"""Pairs of which one continuation is preferred to the other: making them, storing them, and learning from them."""
