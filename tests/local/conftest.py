from collections.abc import Iterator

import pytest

from local.opencti import OpenCTI
from tests.local.asking import register


@pytest.fixture
def sink() -> Iterator[OpenCTI]:
    """A platform on which the connector is registered."""
    with OpenCTI() as opencti:
        register(opencti)
        yield opencti
