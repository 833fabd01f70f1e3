"""The commands of the command line: each parses its options, calls one function and prints what it returns."""
