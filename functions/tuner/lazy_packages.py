"""Opens a package or module without running it, until something of it is asked for.

Google's generated packages import every service and every message type of an API when anything of
them is imported: 1.2 s and 40 MB of CPU and memory for Vertex AI, of which one service is used. An
opened package still has everything: a name that is a submodule is imported alone, any other runs
the real `__init__`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

#: Packages of Vertex AI's and Pub/Sub's generated clients whose `__init__` imports everything.
VERTEX_AI = (
    "google.cloud.aiplatform_v1",
    "google.cloud.aiplatform_v1.types",
    "google.cloud.aiplatform_v1.services",
    "google.cloud.aiplatform_v1.services.job_service",
)
PUBSUB = (
    "google.pubsub_v1",
    "google.pubsub_v1.types",
    "google.pubsub_v1.services",
    "google.pubsub_v1.services.publisher",
)
#: What only a service account's key file needs; Google's clients import it in any case.
KEY_FILES = ("cryptography.x509", "google.oauth2.service_account")

_LOADING = threading.RLock()


class _LazyModule(ModuleType):
    """A package whose `__init__`, or a module, that has not run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        qualified = f"{self.__name__}.{name}"
        if "__path__" in vars(self) and importlib.util.find_spec(qualified) is not None:
            return importlib.import_module(qualified)
        # Other threads wait here until it has run; this one comes again while it runs.
        with _LOADING:
            if type(self) is _LazyModule and not vars(self).get("_runs"):
                self._run()
            if type(self) is _LazyModule:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
        return getattr(self, name)

    def _run(self) -> None:
        """Run it as an import would. When it fails, the next one who asks tries again."""
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        vars(self)["_runs"] = True
        try:
            self.__spec__.loader.exec_module(self)
        finally:
            del vars(self)["_runs"]
        self.__class__ = ModuleType  # type: ignore[assignment]


def open_lazily(*names: str) -> None:
    """Open packages and modules, a parent first; one that is imported already stays as it is.

    Raises ModuleNotFoundError.
    """
    for name in names:
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = _LazyModule(name)
        module.__spec__ = spec
        module.__package__ = spec.parent
        module.__file__ = spec.origin
        if spec.submodule_search_locations is not None:
            module.__path__ = list(spec.submodule_search_locations)
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        if parent in sys.modules:
            setattr(sys.modules[parent], own, module)
