"""A table of real trainings of a small space, long runs and proxies, on which whole searches are replayed."""
