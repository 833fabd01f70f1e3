"""What workers write, kept in order on disk and delivered through outages."""
