"""The command line's commands are made once a process: to make them takes longer than what most calls do."""

import functools

import typer.main


def remember_commands() -> None:
    """Have typer remember the commands that it has made of an application."""
    if not hasattr(typer.main.get_command, "cache_info"):
        typer.main.get_command = functools.cache(typer.main.get_command)
