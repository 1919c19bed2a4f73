"""What must be true of a reign whatever happens to it, and in whatever order."""
