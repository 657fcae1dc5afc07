"""What users write and read: group ``slipway.dev``, version ``v1alpha1``. One file a kind."""
