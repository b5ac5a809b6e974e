"""Serving: a page to talk with a model, and a small HTTP API beside it (needs `spiritlm-pl[serve]`)."""
