"""What our commands share: how a secret is given, and how a result is printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

SECRET_HELP = "give it as - (standard input) or env:NAME; in clear it stays in the shell's history"  # noqa: S105


def print_result(command: BaseCommand, result: Mapping[str, Any]) -> None:
    """Print a command's result: one JSON object, the last line of standard output."""
    command.stdout.write(json.dumps(result, ensure_ascii=False))


def wrong_use(message: str) -> CommandError:
    """Return the error that ends a command with exit code 2."""
    return CommandError(message, returncode=2)


def read_secret(command: BaseCommand, given: str, *, option: str) -> str:
    """Return the secret that an option names: `-` reads a line of standard input, `env:NAME` a variable.

    Given in clear it works, with a warning that names the safer form. Raises CommandError (exit code 2) when it is
    empty.
    """
    if given == "-":
        found, where = sys.stdin.readline().strip(), "standard input"
    elif given.startswith("env:"):
        found, where = os.environ.get(given[4:], "").strip(), f"the variable {given[4:]}"
    else:
        safer = f"Safer: {option} env:NAME or {option} -"
        command.stderr.write(f"{option} was given in clear and stays in the shell's history. {safer}")
        found, where = given.strip(), option
    if not found:
        raise wrong_use(f"{option}: {where} is empty.")
    return found
