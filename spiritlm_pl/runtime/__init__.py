"""Basis of all other packages: devices, complete files, provenance, interrupts."""
