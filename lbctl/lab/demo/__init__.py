"""The demonstration: real archives behind one virtual address. Run it with ``make demo``.

`stage` sets the scene, `acts` lists what is shown, `transfers` and `disturbances` show it, `ledger` keeps what was expected
and measured, `display` shows it live and `report` at the end; `play` runs the whole.
"""
