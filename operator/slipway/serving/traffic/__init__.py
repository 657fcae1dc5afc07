"""Who splits the traffic between versions: one file a provider."""
