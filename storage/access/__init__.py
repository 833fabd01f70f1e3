"""Logins of rented machines, confined to one study's rows."""
