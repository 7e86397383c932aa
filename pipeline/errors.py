"""What can go wrong, by whose hand, and the exit code that tells a caller which it was."""

from __future__ import annotations


class DrydockError(Exception):
    """A failure with a message for the user: what, where and what to do next."""

    exit_code = 1


class StageFailed(DrydockError):
    """The work itself failed."""

    exit_code = 1


class InputError(DrydockError):
    """What the user gave (photos, configuration, arguments) is wrong."""

    exit_code = 2


class HostError(DrydockError):
    """The host lacks something: a Python version, an engine, disk, network."""

    exit_code = 3


class NotAtHand(HostError):
    """What no package registry has is not here: only a target that needs it cannot be had."""


class Interrupted(DrydockError):
    """The user pressed Ctrl-C."""

    exit_code = 130
