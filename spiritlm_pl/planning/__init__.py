"""Costs on paper of what cannot be tried on one machine: data path, network traffic and checkpoints of a training."""
