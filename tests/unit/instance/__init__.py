"""A vassal from the inside."""
