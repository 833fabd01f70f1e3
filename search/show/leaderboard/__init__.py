"""Models of several studies, ranked where they compare."""
