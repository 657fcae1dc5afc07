"""How a Deployment changes its version: states as data, strategies, weights."""
