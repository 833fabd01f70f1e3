"""What may be wrong with this machine, its database, a text or a study, and what cures it."""
