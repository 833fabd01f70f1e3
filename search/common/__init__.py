"""What every package may use: errors, durations, folders, signals, exit codes, statistics, safe text."""
