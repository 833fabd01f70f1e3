"""The GPU's path on NVIDIA's own build of torch, on a GPU that is not there; see README.md beside this file."""
