"""ModelVersion -> verified, aliased; lineage."""
