"""Tasks of the LM Evaluation Harness (lm-eval), asked as text."""
