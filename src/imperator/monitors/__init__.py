"""Imperial monitors: they watch the places where configurations appear.

One file a scheme, found through the entry-point group ``imperator.monitors``. A monitor only *tells*; it
never starts or stops anything. See :mod:`imperator.monitors.api` for the contract.
"""
