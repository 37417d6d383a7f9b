"""The steps of transform processes, one family a file; :mod:`firesteel.tables.steps.registry` lists them."""
