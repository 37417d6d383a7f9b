"""Bytes to records: one file a format, pure Python, without Spark and without torch."""
