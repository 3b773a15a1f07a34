"""The project as an application of Django's: what a process does as it starts."""

import gc
from types import ModuleType

from django.apps import AppConfig

STARTING = 50_000  # objects made and not freed, at which Python looks for garbage in cycles
RUNNING = 5_000


class BackOfficeConfig(AppConfig):
    """Looks for garbage rarely until all is loaded. For that it is the last of INSTALLED_APPS.

    To import Django, dj-stripe and us makes 180,000 objects that all stay: at Python's usual
    threshold an eighth of every start is spent looking for garbage among them. From then on they
    are left out, so that a look is cheap, and there are many: jobs and requests leave garbage in
    cycles with payloads that hang from it. Looked for as rarely as during the start, it makes the
    memory of a worker grow for hours.
    """

    name = "backoffice"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        gc.set_threshold(STARTING, 50, 50)

    def ready(self) -> None:
        gc.freeze()
        gc.set_threshold(RUNNING, 10, 10)
