"""`python -m tests.bench.child MODULE TASK`: a side's task in a process of its own.

The task's arguments come as a JSON object on stdin; its result goes to stdout as JSON.
"""

import json
import os
import sys
from importlib import import_module

import django


def main() -> None:
    """Runs the task; whatever it prints goes to stderr."""
    module, task = sys.argv[1:]
    arguments = json.load(sys.stdin)
    answers, sys.stdout = sys.stdout, sys.stderr
    django.setup()
    result = getattr(import_module(f"tests.bench.{module}"), task)(**arguments)
    json.dump(result, answers)
    answers.flush()
    os._exit(0)  # nothing of the measured process is worth tidying up


if __name__ == "__main__":
    main()
