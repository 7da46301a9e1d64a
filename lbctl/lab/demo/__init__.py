"""The demonstration: real archives behind one virtual address. Run it with ``make demo``.

`stage` sets the scene, `acts` are what is shown, `ledger` keeps what was expected and measured, `display` shows it
live and `report` at the end.
"""
