"""The parts of pycti that are used here, loaded without the rest of it.

`import pycti` loads all that a connector may ever be made of: a web server, clients of a message queue, an
object store and a metrics collector. Measured, that is two thirds of a cold start's imports, and a third of
an idle instance's memory.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from typing import cast

__all__ = ["OPENCTI_EXTENSION", "Identity", "OpenCTIApiClient", "supported_types"]


@contextmanager
def _not_initialised(name: str) -> Iterator[None]:
    """Inside the `with`, submodules of a package can be imported, and its `__init__.py` is not run for them.

    Whoever imports the package later gets it whole, with the same submodules.
    """
    if name in sys.modules:
        yield
        return
    package = module_from_spec(cast("ModuleSpec", find_spec(name)))
    package.__version__ = version(name)  # type: ignore[attr-defined]  # all that pycti's parts ask of the whole
    sys.modules[name] = package
    try:
        yield
    finally:
        del sys.modules[name]


with _not_initialised("pycti"):
    from pycti.api.opencti_api_client import OpenCTIApiClient
    from pycti.entities.opencti_identity import Identity
    from pycti.utils.opencti_stix2_splitter import OPENCTI_EXTENSION, supported_types
