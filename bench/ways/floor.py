"""The floor: stream the body, escape it, push it in one chunked request. Nothing is parsed or checked.

python -m bench.ways.floor SOURCE_URL SINK_URL
"""

import sys
from collections.abc import Iterator

import requests

from bench.meter import Usage, report

PIECE_BYTES = 1 << 18


def _body(export: requests.Response) -> Iterator[bytes]:
    yield b'{"query":"mutation { stixBundlePush }","variables":{"bundle":"'
    for piece in export.raw.stream(PIECE_BYTES):
        yield piece.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    yield b'"}}'


def main() -> None:
    """Move one export."""
    source_url, sink_url = sys.argv[1:]
    after_imports = Usage.now()
    with requests.get(f"{source_url}/export/indicators", stream=True, timeout=600) as export:
        requests.post(f"{sink_url}/graphql", data=_body(export), timeout=600).raise_for_status()
    report(after_imports, 0)


if __name__ == "__main__":
    main()
