"""The two ways things go wrong, kept apart: a person's mistake and a fault of the machine."""

from __future__ import annotations


class LaminaError(Exception):
    """A person's mistake, told in one line: what is wrong, what was expected, what came.

    The command line prints the line without a traceback and exits with `exit_status`.
    """

    exit_status = 2


class MachineFault(Exception):
    """A fault of the machine or of the numbers: says what was kept and how to go on."""

    exit_status = 1
