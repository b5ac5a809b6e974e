"""STSP: whether the sentiment of a spoken or written prompt is kept in the answer (arXiv 2402.05755, section 5.2)."""
