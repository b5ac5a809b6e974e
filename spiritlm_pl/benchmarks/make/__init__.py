"""Miniatures of benchmarks in the layouts of the published ones, spoken by eSpeak NG or listed for recording."""
