"""What a model costs: time, memory, arithmetic, size and energy, of a run and its variants side by side."""
