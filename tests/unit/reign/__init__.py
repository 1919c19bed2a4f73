"""The reign, file by file."""
