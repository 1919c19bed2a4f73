"""The Imperial Bureau of Statistics: what the Emperor tells people and programs.

Rules of this room: it reads the reign's state and never changes it.
"""
