"""How a command ends: by the exit code, a script knows whether it is worth being run again."""

REFUSED = 1
"""A person's mistake, or a refusal: the same would come out again."""
MISUSED = 2
"""The command itself can't be understood: a misspelt option, a value out of range."""
FAULT = 70
"""A fault of ours, or of the machine (EX_SOFTWARE)."""
AWAY = 75
"""The database is away or busy: later it may go well (EX_TEMPFAIL)."""
