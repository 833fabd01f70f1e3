"""A study's results at one moment: snapshot, caveats, importance, pruning, forecast."""
