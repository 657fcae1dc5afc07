"""A file a format: how its columns are read in bounded memory."""
