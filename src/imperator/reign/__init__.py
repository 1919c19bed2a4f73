"""The heart of Imperator: what a vassal *is*, and what must happen next.

Rules of this room:

* Pure. No clock, no socket, no process, no file, no asyncio. ``now`` is an argument.
* Events in, effects out: :meth:`imperator.reign.emperor.Reign.step` is a plain function of
  (state, event, now), so a test can call it and a simulation can run it a million times.
* It never waits. A delay is a deadline that the caller is asked to come back at.
"""
