"""What a shadow costs the clients whose requests are copied."""
