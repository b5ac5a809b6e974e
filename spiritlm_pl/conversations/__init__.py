"""Conversations of text and speech, of which some parts are to be learnt, as training data."""
