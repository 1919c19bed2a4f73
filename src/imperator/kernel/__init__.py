"""Everything that touches Linux: thin, typed functions, each naming its manual page.

Rules of this room: no decisions, no policy, and no import of any other room.
"""
