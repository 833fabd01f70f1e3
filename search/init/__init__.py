"""A first study file, written from what a dataset begins with and from this machine."""
