"""The PostgreSQL server: address, connection, tables."""
