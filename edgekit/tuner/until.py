"""How long a search goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.tuner.records import NEEDS, REFUSED, SAME, SECONDS, WORKER, attempts, finished
from edgekit.tuner.workers import Worker

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["Until"]

WAIT_SECONDS = 0.5


class Until:
    """When to stop: after so many trials of the whole study, so much time of this worker, or, where it is known how many recipes there are, after
    all of them."""

    def __init__(
        self, study: Study, worker: Worker, trials: int | None, minutes: float | None, all_of_them: int | None = None
    ) -> None:
        self.study, self.worker, self.trials, self.minutes, self.all_of_them = study, worker, trials, minutes, all_of_them
        tries = study.get_trials(deepcopy=False)
        self.before = sum(trial.user_attrs.get(SECONDS, 0.0) for trial in tries if trial.user_attrs.get(WORKER) == worker.name)
        self.began = time.monotonic()
        self.over = False
        """Whether no other trial is begun."""

    def seconds_left(self) -> float | None:
        """None where no time is asked for."""
        return None if self.minutes is None else 60 * self.minutes - self.spent()

    def spent(self) -> float:
        """Seconds that this worker has searched, now and before."""
        return float(self.before) + time.monotonic() - self.began

    def fits(self, seconds: float) -> bool:
        """Whether there is as much time for one more trial."""
        left = self.seconds_left()
        return not self.over and (left is None or seconds <= left)

    def done(self) -> int:
        """Trials that came to an end, but for those that could not work, or were an earlier one again, which cost nothing, and those that wait for
        more time."""
        return sum(not {REFUSED, SAME, NEEDS} & set(trial.user_attrs) for trial in finished(self.study))

    def reached(self) -> bool:
        """Whether it is time."""
        left = self.seconds_left()
        if left is not None and left <= 0:
            return True
        while self._enough(taken := self._taken()):
            if all(self.worker.is_there(name) for name in taken):
                return True
            time.sleep(WAIT_SECONDS)  # until the others count on, or are gone and leave their trials to this one
        return False

    def why(self) -> str:
        """Why it is time, in words."""
        left = self.seconds_left()
        if left is not None and left <= 0:
            return f"its {self.minutes:.3g} minutes are used up"
        if self.trials is not None and self.done() >= self.trials:
            return "as many were asked for"
        if self.all_of_them is not None and len(finished(self.study)) >= self.all_of_them:
            return "there is no other recipe to try"
        return "other workers are at the last of them"

    def more(self) -> str:
        """What to give the same command, for it to go on where it is time; "" where there is nothing else to try."""
        left = self.seconds_left()
        if left is not None and left <= 0:
            return f"--minutes {math.ceil(2 * (self.minutes or 1))}"
        return f"--trials {2 * self.trials}" if self.trials and self.done() >= self.trials else ""

    def _enough(self, taken: Sequence[str | None]) -> bool:
        """Whether no further trial has to be begun, once those that others have come to their end."""
        if self.trials is not None and self.done() + len(taken) >= self.trials:
            return True
        return self.all_of_them is not None and len(finished(self.study)) + len(taken) >= self.all_of_them

    def others_at_work(self) -> bool:
        """Whether others are at trials; waits until each that has one gave a sign, or is gone."""
        while taken := self._taken():
            if all(self.worker.is_there(name) for name in taken):
                return True
            time.sleep(WAIT_SECONDS)
        return False

    def _taken(self) -> list[str | None]:
        """The workers of trials that are being run by others, who are not gone as far as it is known."""
        last = [tries[-1] for tries in attempts(self.study.get_trials(deepcopy=False)).values()]
        running = [(trial.user_attrs.get(WORKER), trial.number) for trial in last if trial.state.name == "RUNNING"]
        return [name for name, number in running if not self.worker.has_left(name, number)]
