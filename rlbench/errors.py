"""The two ways in which a command ends badly, each with one message for a person to read."""


class UsageError(Exception):
    """What the user typed cannot be run: exit code 2. The message says what, where, and what to do instead."""


class RunError(Exception):
    """What the user asked for was sound, and failed: exit code 1."""


class Interrupted(BaseException):
    """A signal asked to stop. Not an `Exception`: it may arise anywhere, and only `rlbench.run` is to catch it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.exit_code = 128 + signum
