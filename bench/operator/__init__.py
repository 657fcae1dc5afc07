"""What the operator costs: memory, time and requests, by the number of objects."""
