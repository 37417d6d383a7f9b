"""Evaluation: mergeable counts, the metrics made of them, and the evaluation of a model on a split."""
