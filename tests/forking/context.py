"""A context of multiprocessing whose processes are forked from one that has imported what commands and workers need."""

import multiprocessing

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["__main__", "tests.forking.preloaded"])
