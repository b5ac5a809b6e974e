"""Server of a page to talk with a model, and of a small HTTP API (needs `spiritlm-pl[serve]`)."""
