"""What our commands share: how a secret is given, and how a result is printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

HOW_TO_GIVE = "give it as - (standard input) or env:NAME; in clear it stays in the shell's history"


def print_result(command: BaseCommand, result: Mapping[str, Any]) -> None:
    """Print a command's result: one JSON object, the last line of standard output."""
    command.stdout.write(json.dumps(result, ensure_ascii=False))


def say(command: BaseCommand, message: str) -> None:
    """Tell the person at the terminal something, on standard error."""
    command.stderr.write(message)


def wrong_use(message: str) -> CommandError:
    """Return the error that ends a command with exit code 2."""
    return CommandError(message, returncode=2)


def read_secret(command: BaseCommand, given: str, *, option: str) -> str:
    """Return the secret that an option names: `-` reads a line of standard input, `env:NAME` a variable.

    Given in clear it works, with a warning that names the safer form. An empty one ends the command with exit code 2.
    """
    if given == "-":
        found, where = sys.stdin.readline().strip(), "standard input"
    elif given.startswith("env:"):
        found, where = os.environ.get(given[4:], "").strip(), f"the variable {given[4:]}"
    else:
        say(
            command,
            f"{option} was given in clear and stays in the shell's history. Safer: env:NAME, or - to type it.",
        )
        found, where = given.strip(), option
    if not found:
        raise wrong_use(f"{option}: {where} is empty.")
    return found
