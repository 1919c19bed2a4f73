"""The configuration language beside the original's: both read the same files, and must understand the same."""
