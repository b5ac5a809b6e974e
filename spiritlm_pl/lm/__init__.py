"""Language model: construction, attention over packed rows, loss, schedules, and estimates of its cost."""
