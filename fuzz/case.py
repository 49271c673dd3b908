"""One case: bytes as Cluster25 might send them, taken all the way to chunks, and what must hold of those."""

import json
import logging
from random import Random
from unittest import mock

import orjson

from cluster25 import scan
from cluster25.chunks import Chunk
from cluster25.clock import Budget, SystemClock
from cluster25.errors import ExportTooLargeError, SourceRefusedError, SourceUnavailableError
from cluster25.run import Run, RunRequest
from cluster25.settings import Settings
from cluster25.state.ledger import Ledger
from cluster25.state.store import Rejected
from cluster25.stix import unescape
from cluster25.transfer import Outlet, Transfer
from fuzz.tokens import TOKEN, TOKENS
from local.judgement import judge_bundles

CHUNK_OBJECTS = 3
_CLOCK = SystemClock()
_SETTINGS = Settings(
    opencti_url="http://127.0.0.1:9",
    opencti_token="token-of-the-fuzzer",
    connector_id="5f3a2b1c-9d8e-4f70-8a6b-1c2d3e4f5a6b",
    cluster25_client_id="fuzzer",
    cluster25_client_secret="secret-of-the-fuzzer",
    cluster25_chunk_objects=CHUNK_OBJECTS,
)


def check(case: bytes) -> None:
    """Import an export and judge what comes out. Raises whatever is no typed error, and what must not be.

    The first byte of a case tells how large the windows are; what follows it is the export.
    """
    logging.disable()
    export, window_bytes = case[1:], (1 << 18, 1, 2, 61)[case[0] % 4 if case else 0]
    chunks: list[Chunk] = []
    kept: list[Rejected] = []
    run = Run("run", RunRequest("fuzz"), _CLOCK.now(), Budget.of(_CLOCK, 60))
    outlet = Outlet(push=chunks.append, record=lambda _entries: None, keep=kept.extend)
    described = ""
    transfer = Transfer(_SETTINGS, _CLOCK, run, Ledger(), None, [], outlet)
    pieces = [export[place : place + window_bytes] for place in range(0, len(export), window_bytes)]
    try:
        with mock.patch.object(scan, "WINDOW_BYTES", window_bytes), transfer:
            for batch in scan.scan_bundle(pieces):
                transfer.take(batch)
            transfer.finish()
    except (ExportTooLargeError, SourceRefusedError, SourceUnavailableError) as error:
        described = str(error)
    assert len(described) < 2_000
    tally = run.tally
    assert len(kept) == tally.rejected
    assert tally.pushed + tally.skipped + tally.rejected <= tally.exported
    _judge(chunks)


def mutated(case: bytes, random: Random) -> bytes:
    """The case with a token or a slice of it replaced, doubled or left out."""
    found = [match.span() for match in TOKEN.finditer(case, 1)]
    if not found:
        return case + random.choice(TOKENS)
    start = random.choice(found)[0]
    end = max(start, random.choice([span[1] for span in found if span[0] >= start][:8]))
    other = random.choice(found)
    new = random.choice((b"", random.choice(TOKENS), case[slice(*other)], case[start:end] * 2))
    return case[:start] + new + case[end:]


def _judge(chunks: list[Chunk]) -> None:
    bundles = []
    for chunk in chunks:
        body = b"".join(chunk.escaped_bundle())
        orjson.loads(b'"' + body + b'"').encode()
        bundle = json.loads(unescape(body))
        ids = [found["id"] for found in bundle["objects"]]
        assert len(ids) == len(set(ids)), "an object twice in a chunk"
        assert len(chunk.items) <= CHUNK_OBJECTS
        bundles.append(bundle)
    judgement = judge_bundles(bundles)
    assert judgement.sound, judgement
