"""A smaller or faster model from a run: quantized, pruned, factored or distilled; and what that cost on the same examples."""
