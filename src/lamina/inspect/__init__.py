"""What is inside a network: layers, units, gradients, and what each depth knows."""
