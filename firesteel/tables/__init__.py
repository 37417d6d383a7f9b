"""Tables: what their columns hold, without Spark."""
