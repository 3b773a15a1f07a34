"""What a sandbox needs, imported once in the process that all of them are forked off.

Some of it is otherwise imported when it is first used, which each of them would do anew.
"""

import gc

import tests.sandbox.server  # noqa: F401

gc.freeze()  # a look for garbage would copy the pages that they share
