"""`python -m tests.operation.pictures`: takes the pictures of the page that the documentation shows."""

import tempfile
from pathlib import Path

from cluster25.operation.page import render_page
from cluster25.settings import Settings
from tests.operation import histories
from tests.operation.browser import find_chromium
from tests.operation.conftest import CONNECTOR_ID

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    """Write `docs/status-healthy.png` and `docs/status-failing.png`."""
    settings = Settings(
        opencti_url="https://opencti.example.org",
        opencti_token="unused",
        connector_id=CONNECTOR_ID,
        cluster25_client_id="example",
        cluster25_client_secret="unused",
    )
    chromium = find_chromium()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(render_page(settings, histories.HEALTHY, histories.REJECTED, histories.NOW))
        chromium.screenshot(page.as_uri(), DOCS / "status-healthy.png", width=1040, height=1030)
        page.write_text(render_page(settings, histories.FAILING, histories.REJECTED, histories.NOW))
        chromium.screenshot(page.as_uri(), DOCS / "status-failing.png", width=420, height=1030, dark=True)


if __name__ == "__main__":
    main()
