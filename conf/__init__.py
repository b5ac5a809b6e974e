"""Runnable configurations, one a stage and size, made of parts."""
