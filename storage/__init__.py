"""Keeps a study safe and shared: Postgres, claims, heartbeats, retries."""
