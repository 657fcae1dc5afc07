"""The dataset program: reads a data set once, and says what it is (manifest, profile, checks)."""
