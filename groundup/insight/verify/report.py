"""What `verify` found, as a plain record: for people (commands/verify.py prints it) and for machines (`to_dict`)."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from groundup.insight.verify.causes import Cause
from groundup.insight.verify.checks import Check
from groundup.insight.verify.differences import Difference

UNEXPLAINED = "unexplained difference"


@dataclass
class Report:
    """`judge` None where nobody could be found. `rest`: what is known where the causes do not explain everything."""

    model: str
    judge: str | None
    differences: list[Difference] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    rest: str = ""
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> Difference | None:
        """The first tensor that differs: everything computed before it agrees."""
        return next((each for each in self.differences if not each.agrees), None)

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.passed is False]

    @property
    def healthy(self) -> bool:
        return self.first is None and not self.failed

    @property
    def faults(self) -> list[str]:
        """The names of what is wrong. A check that fails beside a cause most often follows from it, so it has none."""
        unexplained = [UNEXPLAINED] if self.first is not None else []
        return [cause.fault for cause in self.causes] or unexplained + [check.fault for check in self.failed]

    def of_kind(self, kind: str) -> list[Difference]:
        return [each for each in self.differences if each.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "judge": self.judge,
            "healthy": self.healthy,
            "faults": self.faults,
            "first": None if self.first is None else _plain(self.first),
            "causes": [asdict(cause) for cause in self.causes],
            "rest": self.rest,
            "checks": [asdict(check) for check in self.checks],
            "differences": [_plain(each) for each in self.differences],
            "notes": self.notes,
        }


def _plain(difference: Difference) -> dict[str, Any]:
    found = asdict(difference) | {"agrees": difference.agrees}
    return found | {"error": None if math.isinf(difference.error) else difference.error}  # JSON has no infinity
