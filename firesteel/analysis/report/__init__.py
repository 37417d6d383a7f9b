"""Analyses as HTML pages that need nothing else: no script, no network."""
