"""The configuration language, and the catalogue of every option.

Rules of this room: pure, apart from reading the sources that it is told to read. It imports no other room.
"""
