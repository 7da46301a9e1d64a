"""The seeded fault run: hundreds of changes and faults under live connections, and a ledger of what each may suffer."""
