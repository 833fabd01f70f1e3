"""Worker processes: claim a trial, train it, report, tell; several on one machine."""
