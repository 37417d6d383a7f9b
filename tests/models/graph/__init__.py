"""Networks stored as layers and steps."""
