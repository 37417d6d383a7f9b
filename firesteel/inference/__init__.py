"""Prediction: a model loaded once, rows in, classes out."""
