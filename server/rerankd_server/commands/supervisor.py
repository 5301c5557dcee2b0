"""`rerankd serve --workers N`: starts N processes that serve, replaces those that die, stops them.

Each serves with its share of the settings, on the port that all share. The first starts alone: it
makes the database, and says what is wrong with the settings. This process serves nothing itself,
and loads neither gRPC nor a model's client.
"""

import multiprocessing
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog

from rerankd_server.commands.worker import SIGNALS, Order, Refuses, Serves, work
from rerankd_server.config import Settings, share_of
from rerankd_server.errors import ConfigError
from rerankd_server.port import reserved

_LONG = 10.0
"""Seconds: who lived for as long did not die of its start."""
_LONGEST_PAUSE = 30.0

_log = structlog.get_logger()


def supervise(settings: Settings) -> int:
    """Run a server of several processes; gives the exit status. Raises ConfigError."""
    with _signals() as signals, reserved(settings.listen) as address:
        return Supervisor(settings.model_copy(update={"listen": address}), signals).run()


def pause(deaths: int) -> float:
    """Give the seconds before a worker is replaced, after so many early deaths in a row."""
    return 0.0 if deaths <= 1 else min(2.0 ** min(deaths - 3, 10), _LONGEST_PAUSE)


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    process: SpawnProcess
    pipe: Connection
    began: float
    said: Serves | Refuses | None = None
    is_silent: bool = False
    """Whether it will say nothing more."""

    def hear(self) -> None:
        """Take in what it says."""
        try:
            self.said = self.pipe.recv()
        except (EOFError, OSError):
            self.is_silent = True

    def tell(self, order: Order) -> None:
        """Tell it to stop; one that is gone needs no telling."""
        with suppress(OSError):
            self.pipe.send(order)


class Supervisor:
    """Runs the workers that `settings` ask for until `signals` has a byte to read."""

    def __init__(self, settings: Settings, signals: socket.socket) -> None:
        self._settings = settings
        self._signals = signals
        self._workers: dict[int, _Worker] = {}
        self._due = {0: 0.0}
        """When workers that are missing are to be started, by number."""
        self._deaths: dict[int, int] = {}
        """How often in a row each died early."""
        self._is_up = False
        """Whether all have served once."""
        self._status = 0

    def run(self) -> int:
        """Serve until a signal; a second one ends the grace. Gives the exit status."""
        order = Order.HURRY
        try:
            self._serve()
            order = Order.STOP
        finally:
            self._end(order)
        if self._is_up:
            _log.info("stopped")
        return self._status

    def _serve(self) -> None:
        while not self._status:
            for number in [n for n, at in self._due.items() if at <= time.monotonic()]:
                del self._due[number]
                self._workers[number] = self._start(number)
            if self._happens():
                return

    def _start(self, number: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, its = context.Pipe()
        process = context.Process(
            target=work,
            args=(number, share_of(self._settings, number), its),
            name=f"rerankd worker {number}",
        )
        # It is born with signals held, and takes them when it knows what to do with them.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        its.close()
        return _Worker(number, process, ours, time.monotonic())

    def _happens(self) -> bool:
        """Wait for something, and do what it asks for. Gives whether it was a signal."""
        by_source: dict[Any, _Worker] = {}
        for worker in self._workers.values():
            by_source[worker.process.sentinel] = worker
            if not worker.is_silent:
                by_source[worker.pipe] = worker
        timeout = max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None
        sources = wait([self._signals, *by_source], timeout)
        if self._signals in sources:
            self._signals.recv(1)
            return True
        for source in sources:
            worker = by_source[source]
            if source is worker.pipe:
                worker.hear()
                self._heard(worker)
        for source in sources:
            worker = by_source[source]
            if source is not worker.pipe:
                self._bury(worker)
        return False

    def _heard(self, worker: _Worker) -> None:
        if not isinstance(worker.said, Serves) or worker.is_silent:
            return
        if self._is_up:
            _log.info("worker replaced", worker=worker.number, pid=worker.process.pid)
            return
        if worker.number == 0:
            self._due.update(dict.fromkeys(range(1, self._settings.workers), 0.0))
        serving = [w for w in self._workers.values() if isinstance(w.said, Serves)]
        if len(serving) == self._settings.workers:
            self._is_up = True
            first = self._workers[0].said
            assert isinstance(first, Serves)
            *lines, ready = first.introduction
            for line in lines:
                line.write()
            ready.write(workers=self._settings.workers)

    def _bury(self, worker: _Worker) -> None:
        """See to a worker that died: replace it, or give up where it never served."""
        while not worker.is_silent:
            worker.hear()
        self._forget(worker)
        if not self._is_up:
            if isinstance(worker.said, Refuses):
                raise ConfigError(worker.said.message)
            _log.error("a worker ended before all had started", **_death(worker))
            self._status = 1
            return
        if isinstance(worker.said, Refuses):
            _log.error("worker cannot start", error=worker.said.message, worker=worker.number)
        lived = time.monotonic() - worker.began
        deaths = 1 if lived >= _LONG else self._deaths.get(worker.number, 0) + 1
        self._deaths[worker.number] = deaths
        seconds = pause(deaths)
        self._due[worker.number] = time.monotonic() + seconds
        _log.error("worker ended", **_death(worker), replaced_in=seconds)

    def _end(self, order: Order) -> None:
        """Have all workers end, and wait for them; a further signal has them hurry."""
        for worker in self._workers.values():
            worker.tell(order)
        while self._workers:
            by_sentinel = {w.process.sentinel: w for w in self._workers.values()}
            sources = wait([self._signals, *by_sentinel])
            if self._signals in sources:
                self._signals.recv(1)
                for worker in self._workers.values():
                    worker.tell(Order.HURRY)
            for worker in [w for sentinel, w in by_sentinel.items() if sentinel in sources]:
                self._forget(worker)
                if worker.process.exitcode:
                    _log.error("worker ended", **_death(worker))
                    self._status = 1

    def _forget(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        del self._workers[worker.number]


def _death(worker: _Worker) -> dict[str, object]:
    """Say who died, and of what."""
    code = worker.process.exitcode
    assert code is not None
    how = {"status": code} if code >= 0 else {"signal": signal.Signals(-code).name}
    return {"worker": worker.number, "pid": worker.process.pid, **how}


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket from which one byte can be read for each signal that says stop."""
    ours, written = socket.socketpair()
    with ours, written:
        written.setblocking(False)
        descriptor = signal.set_wakeup_fd(written.fileno())
        before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        try:
            yield ours
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(descriptor)
