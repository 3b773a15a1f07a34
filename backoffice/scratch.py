"""Where to put what is thrown away again: in memory, where the machine has enough of it.

Making and dropping databases, of some 1,500 files each, is what most tests and drills wait for
on a disk.
"""

import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  (what is put there gets a folder of its own)
ENOUGH = 4 * 2**30  # bytes


def scratch_folder() -> Path:
    """A folder for temporary files, whose path is short enough for sockets below it."""
    try:
        free = shutil.disk_usage(MEMORY).free
    except OSError:
        free = 0
    return MEMORY if free >= ENOUGH else Path(tempfile.gettempdir())
