"""``kubectl slipway``: the questions and verbs of Slipway for people, with their own rights and nothing else."""
