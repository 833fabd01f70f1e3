"""What a GPU has to be asked, in minutes, the weightiest first: `python -m tests.benchmarks --device cuda --quick`."""
