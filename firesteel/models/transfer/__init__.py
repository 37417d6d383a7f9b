"""Training that begins with a network that was trained before: a new head, frozen layers, features computed once."""
