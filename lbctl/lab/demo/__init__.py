"""The demonstrations: what lbctl promises, shown by real servers and clients in a network of namespaces.

`images` (``make demo``) shows real archives behind one virtual address, `life` (``make demo-life``) the life of a connection.
Each has a `stage` that sets its scene and `acts` that are shown on it. What they share: `programme` says what a demonstration
consists of, `scene` what every stage has, `ledger` keeps what was expected and measured, `display` shows it live and `report`
at the end; `play` runs the whole.
"""
