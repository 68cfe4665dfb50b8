"""The command line: one file a command, parsing first, then one call."""
