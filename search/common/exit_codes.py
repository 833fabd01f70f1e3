"""Exit codes of commands: they tell a script whether running the command again may help."""

REFUSED = 1
"""A user's mistake, or a refusal: running it again gives the same result."""
MISUSED = 2
"""An invalid command line: a misspelt option, a value out of range."""
FAULT = 70
"""A bug, or a fault of the machine (EX_SOFTWARE)."""
AFRESH = 71
"""The GPU is unusable in this process, but may be usable in another one (EX_OSERR): a step could not be captured."""
AWAY = 75
"""The database or a judge is away or busy: the command may succeed later (EX_TEMPFAIL)."""
