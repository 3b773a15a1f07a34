"""Child processes forked from this one: they are warm, and begin within milliseconds.

Whoever forks must have no threads and no open connection of Django's. A child never comes back:
it does its work and ends, without what this process would do at its own end.
"""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

FAILED = 70  # the exit code after an error that nobody caught
PAUSE = 0.002  # seconds between two looks whether a child has ended

Work = Callable[[], int | None]


class TooSlowError(Exception):
    """A child did not end in time. The text says which."""


class Fork:
    """One child process, in a process group of its own.

    What it writes goes to the end of `log`; its stdout to the file `output` where one is named.
    """

    def __init__(self, name: str, work: Work, *, log: Path, output: Path | None = None) -> None:
        self.name = name
        self.log = log
        self.code: int | None = None
        self.cpu = 0.0  # seconds, once it has ended
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _become(work, log, output or log)

    @property
    def is_alive(self) -> bool:
        return self._poll() is None

    def wait(self, seconds: float) -> int:
        """Its exit code, negative for a signal. Raises TooSlowError, and kills it first."""
        deadline = time.monotonic() + seconds
        while (code := self._poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TooSlowError(f"{self.name} did not end within {seconds:.0f} seconds")
            time.sleep(PAUSE)
        return code

    def kill(self) -> int:
        """SIGKILL for it and all its children, as in a crash; its exit code."""
        while (code := self._poll()) is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
                self._end(os.wait4(self.pid, 0))
            except ProcessLookupError:  # it is about to make its group
                time.sleep(PAUSE)
        return code

    def stop(self, seconds: float = 10) -> int:
        """Asks it to end, and kills it after `seconds`; its exit code."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + seconds
            while self.is_alive and time.monotonic() < deadline:
                time.sleep(PAUSE)
        return self.kill()

    def _poll(self) -> int | None:
        if self.code is None and (ended := os.wait4(self.pid, os.WNOHANG))[0]:
            self._end(ended)
        return self.code

    def _end(self, ended: tuple[int, int, resource.struct_rusage]) -> None:
        _, status, used = ended
        self.code = os.waitstatus_to_exitcode(status)
        self.cpu = used.ru_utime + used.ru_stime


def _become(work: Work, log: Path, output: Path) -> NoReturn:
    """The child's whole life."""
    code = FAILED
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _redirect(log, output)
        code = work() or 0
    except SystemExit as ended:
        code = _code_of(ended)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _redirect(log: Path, output: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for path, number in ((Path(os.devnull), 0), (output, 1), (log, 2)):
        opened = os.open(path, flags if number else os.O_RDONLY, 0o600)
        os.dup2(opened, number)
        os.close(opened)


def _code_of(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    sys.stderr.write(f"{ended.code}\n")
    return 1
