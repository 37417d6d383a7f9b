"""Pictures of any source, written as files in class folders."""
