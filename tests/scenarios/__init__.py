"""Stories of a reign, readable by a person and run by :mod:`.test_scenarios`."""
