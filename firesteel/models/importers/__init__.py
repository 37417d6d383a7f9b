"""Networks and weights from the files of other frameworks, one file a format."""
