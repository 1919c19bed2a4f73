"""The running Emperor: an asyncio loop that feeds the reign with events and carries out its effects.

Rules of this room: it decides nothing (the reign does), it never blocks, and it closes whatever it opened.
"""
