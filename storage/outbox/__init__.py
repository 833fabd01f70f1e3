"""Messages of workers to the database, kept in order on disk and delivered through outages."""
