"""A vassal from the inside: its options, its application, the engine that serves it."""
