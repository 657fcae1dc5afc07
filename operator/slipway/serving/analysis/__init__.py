"""Evidence: the counters of the pods, and what they say."""
