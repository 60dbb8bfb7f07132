"""What people are told when something is wrong: what happened, where, and the command that helps.

Raise one of these for every failure a user can cause or cure; anything else that escapes is a bug.
The command line prints the three parts and leaves with the class's exit code.
"""


class GroundupError(Exception):
    """The work failed.

    `what` is one sentence, `where` a file, line, row or field, `hint` the exact command or change that helps.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None):
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return self.what if self.where is None else f"{self.what} ({self.where})"


class UsageError(GroundupError):
    """A flag or a configuration that cannot be meant."""

    exit_code = 2


class DataError(GroundupError):
    """Input data that cannot be read or trained on."""

    exit_code = 3


class EnvironmentFault(GroundupError):
    """The machine lacks something: a package, a GPU, memory, disk space, a free run folder."""

    exit_code = 4


class ArtefactError(GroundupError):
    """A checkpoint, tokenizer or data folder that is damaged or does not belong to the other parts."""

    exit_code = 5


class Stopped(GroundupError):
    """Training was asked to stop and saved a checkpoint first."""

    exit_code = 75
