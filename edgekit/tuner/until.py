"""How long a search goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgekit.tuner.records import REFUSED, SECONDS, WORKER, attempts, finished
from edgekit.tuner.workers import Worker

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["Until"]

WAIT_SECONDS = 0.5


class Until:
    """When to stop: after so many trials of the whole study, or so much time of this worker."""

    def __init__(self, study: Study, worker: Worker, trials: int | None, minutes: float | None) -> None:
        self.study, self.worker, self.trials, self.minutes = study, worker, trials, minutes
        tries = study.get_trials(deepcopy=False)
        self.before = sum(trial.user_attrs.get(SECONDS, 0.0) for trial in tries if trial.user_attrs.get(WORKER) == worker.name)
        self.began = time.monotonic()

    def seconds_left(self) -> float | None:
        """None where no time is asked for."""
        return None if self.minutes is None else 60 * self.minutes - self.before - (time.monotonic() - self.began)

    def done(self) -> int:
        """Trials that came to an end, but for those that could not work."""
        return sum(REFUSED not in trial.user_attrs for trial in finished(self.study))

    def reached(self) -> bool:
        """Whether it is time."""
        left = self.seconds_left()
        if left is not None and left <= 0:
            return True
        if self.trials is None:
            return False
        while self.done() + len(taken := self._taken()) >= self.trials:
            if all(self.worker.is_there(name) for name in taken):
                return True
            time.sleep(WAIT_SECONDS)  # until the others count on, or are gone and leave their trials to this one
        return False

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
