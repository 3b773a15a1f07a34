"""Where to put what is thrown away again: in memory, where the machine has enough of it.

Making and dropping databases, of some 1,500 files each, is what most tests and drills wait for
on a disk.
"""

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  (what is put there gets a folder of its own)
DISK = Path("/tmp")  # noqa: S108
ENOUGH = 4 * 2**30  # bytes


def scratch_folder() -> Path:
    """A folder for temporary files, whose path is short enough for sockets below it."""
    try:
        free = shutil.disk_usage(MEMORY).free
        runs_programs = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    except OSError:
        free, runs_programs = 0, False
    return MEMORY if free >= ENOUGH and runs_programs else DISK


def make_scratch_folder(prefix: str) -> Path:
    """A new folder in it, for whoever made it to remove.

    Everybody may enter: as root, a database server in it is another system user.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=scratch_folder()))
    folder.chmod(0o711)
    return folder
