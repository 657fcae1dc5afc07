"""Dataset -> checked: digest, profile, verdict, versions."""
