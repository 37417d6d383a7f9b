"""What data holds: figures of tables and of pictures, as summaries of parts that are merged in any order."""
