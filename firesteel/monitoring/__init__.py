"""What can be seen of a run: the event log that every worker writes, and its readers."""
