"""Child processes with a log file each, and the socket that a web server is given."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"


class Child:
    """A process in a group of its own, so that a Ctrl-C in the terminal is not sent to it.

    Its output goes to the end of the file `log`. It inherits the file descriptors `fds`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as output:
            self.start = output.tell()
            self.process = subprocess.Popen(  # noqa: S603
                command,
                cwd=BASE_DIR,
                env=env,
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """What it wrote so far."""
        return self.log.read_bytes()[self.start :].decode(errors="replace")

    def stop(self, seconds: float = 10) -> int:
        """Ask it to end, and kill it and its children after `seconds`; the exit code."""
        if self.is_alive:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def kill(self) -> int:
        """SIGKILL for it and all its children, as in a crash; the exit code."""
        if self.is_alive:
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


def listen(port: int, *, tries: int = 1) -> socket.socket:
    """A listening socket on loopback: on the first free of `tries` ports; 0 takes any port.

    Raises OSError where none is free. Listening before the server starts leaves no moment in
    which another process can take the port, and none in which a client is refused.
    """
    for candidate in range(port, port + tries):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, candidate))
            listener.listen(128)
        except OSError:
            listener.close()
            if candidate == port + tries - 1:
                raise
        else:
            return listener
    raise ValueError("tries must be at least 1")


def address(listener: socket.socket) -> str:
    """The address of what a listening socket serves: http://127.0.0.1:PORT."""
    return f"http://{HOST}:{listener.getsockname()[1]}"


def web_command(listener: socket.socket, *, workers: int) -> list[str]:
    """The command that serves the back office on a socket which the process inherits."""
    return [
        *(sys.executable, "-m", "gunicorn", "--config=deploy/gunicorn.conf.py", "backoffice.wsgi"),
        *(f"--bind=fd://{listener.fileno()}", f"--workers={workers}", "--threads=4"),
    ]
