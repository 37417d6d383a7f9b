"""Importers: weights and networks of other frameworks."""
