"""How each codec of a comparison is run: ours, and the classical ones."""
