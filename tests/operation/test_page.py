"""The status page in a real browser: healthy, failing, never run, busy; on a phone, in the dark, by ear."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from cluster25.connector import Connector
from cluster25.operation.page import render_page
from cluster25.settings import load_settings
from cluster25.state.document import State
from tests.operation import histories
from tests.operation.app import App
from tests.operation.browser import Chromium, find_chromium
from tests.operation.conftest import SECRETS

pytestmark = pytest.mark.slow  # a browser is started for each, and no other interpreter changes what it shows

AUDIT = (Path(__file__).parent / "audit.js").read_text()
PAGES = {
    "healthy": (histories.HEALTHY, "Healthy", "The last success ended 3 min ago."),
    "failing": (histories.FAILING, "Failing", "Check CLUSTER25_CLIENT_ID and CLUSTER25_CLIENT_SECRET."),
    "never run": (histories.NEVER_RUN, "Not run yet", "Scheduler job"),
    "busy": (histories.BUSY, "Healthy", "is working; its lease ends at"),
    "starting": (histories.STARTING, "First import under way", "importing what was modified since"),
    "skipping": (histories.SKIPPING, "Skipping", "CONNECTOR_QUEUE_THRESHOLD"),
    "overdue": (histories.OVERDUE, "No recent success", "one is expected every 10 min"),
}
each_page = pytest.mark.parametrize(("state", "headline", "words"), PAGES.values(), ids=PAGES)


@pytest.fixture(scope="module")
def chromium() -> Chromium:
    return find_chromium()


@pytest.fixture
def serve(app: App, connector: Connector) -> Iterator[Callable[[State], str]]:
    """Serves the function over HTTP, with that state and three rejected objects; gives its address."""
    server = make_server("127.0.0.1", 0, app.wsgi, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def with_state(state: State) -> str:
        connector.store.write(state.to_document(), None)
        connector.store.add_rejected(histories.REJECTED)
        return f"http://127.0.0.1:{server.server_port}/"

    yield with_state
    server.shutdown()
    server.server_close()


def words_of(page: str) -> str:
    """What a person reads: the page without markup and drawings, blanks made one."""
    text = re.sub(r"<(style|svg|head)\b.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(text).split())


@each_page
def test_a_browser_shows_what_the_state_is(
    chromium: Chromium, serve: Callable[[State], str], state: State, headline: str, words: str
) -> None:
    page = chromium.dump(serve(state))
    shown = words_of(page.document)
    assert f"<title>{headline} · Cluster25 connector</title>" in page.document
    assert shown.split(" UTC ", 1)[1].startswith(headline)
    assert words in shown
    assert "31 characters is no MD5" in shown
    assert len(re.findall(r'<rect class="foot"', page.document)) == len(state.runs)
    assert page.complaints == []
    assert not any(secret in page.document for secret in SECRETS)


def test_the_style_is_in_force_under_the_policy(
    chromium: Chromium, serve: Callable[[State], str], tmp_path: Path
) -> None:
    """A page without its style is as good as blank to a person in a hurry."""
    address = serve(histories.HEALTHY)
    sizes = {}
    for scheme, dark in (("light", False), ("dark", True)):
        picture = tmp_path / f"{scheme}.png"
        chromium.screenshot(address, picture, dark=dark)
        sizes[scheme] = picture.read_bytes()
    assert sizes["light"] != sizes["dark"]
    assert all(len(picture) > 30_000 for picture in sizes.values())


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)], ids=["desk, light", "phone, dark"])
@each_page
def test_everybody_can_read_it(
    chromium: Chromium,
    settings: pytest.MonkeyPatch,
    tmp_path: Path,
    state: State,
    headline: str,
    words: str,
    width: int,
    dark: bool,
) -> None:
    html = render_page(load_settings(), state, histories.REJECTED, histories.NOW)
    page = tmp_path / "page.html"
    page.write_text(html.replace("</body>", f"<script>{AUDIT}</script></body>"))
    document = chromium.dump(page.as_uri(), width=width, dark=dark).document
    (title,) = re.findall("<title>(.*?)</title>", document.partition("<body")[0])
    assert json.loads(unescape(title)) == []


def test_what_peers_and_people_wrote_is_text_and_nothing_else(
    chromium: Chromium, serve: Callable[[State], str], settings: pytest.MonkeyPatch
) -> None:
    evil = "<script>document.title='gone'</script><img src=x>"
    settings.setenv("CONNECTOR_NAME", evil)
    failed = histories.FAILING.runs[0].model_copy(
        update={"error": {"what": evil, "side": "source", "remedy": evil}}
    )
    page = chromium.dump(serve(histories.FAILING.changed(runs=[failed], last_run=failed)))
    assert "<script" not in page.document
    assert "<img" not in page.document
    assert words_of(page.document).count(evil) == 5


def test_a_state_that_cannot_be_read_is_a_page_too(
    chromium: Chromium, app: App, serve: Callable[[State], str]
) -> None:
    address = serve(histories.HEALTHY.changed(version=7))
    shown = words_of(chromium.dump(address).document)
    assert "Failing The stored state has version 7" in shown
    assert app.get(html=True).status_code == 500


@pytest.mark.usefixtures("settings")
def test_while_an_earlier_start_is_imported_the_page_does_not_say_that_all_is_there() -> None:
    importing = histories.HEALTHY.changed(start=histories.NOW - 30 * histories.INTERVAL)
    for state, going_on in ((importing, True), (histories.HEALTHY, False)):
        page = words_of(render_page(load_settings(), state, [], histories.NOW))
        assert ("importing what was modified since" in page) == going_on
        assert ("all modified before is in OpenCTI" in page) == (not going_on)
