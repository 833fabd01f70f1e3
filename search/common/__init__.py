"""Shared by all packages: errors, durations, folders, signals, exit codes, statistics, safe text."""
