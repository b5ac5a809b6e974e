"""The language model: building, attention over packed rows, loss, schedules, cost on paper."""
