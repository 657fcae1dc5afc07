"""TrainingRun -> Job -> result -> ModelVersion."""
