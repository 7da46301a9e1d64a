"""What the operator wrote: schema, presets, rules, and the loader that turns a file into a `Declaration`.

``loader.load`` is the way in; ``describe`` and ``reference`` tell people what a file says and what it may say.
"""
