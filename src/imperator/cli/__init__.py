"""The command line: the original's options, and the sub-commands. Thin: it parses, calls, and prints."""
