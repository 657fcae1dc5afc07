"""The registry at 10,000 versions: ``kubectl slipway`` beside MLflow's registry, with the same content."""
