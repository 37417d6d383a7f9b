"""The commands, one a file: what each takes, the one call that it makes, and what it prints."""
