"""Ways in which the stand-ins are slow, and how tests wait."""

import time
from collections.abc import Callable

from local.loopback import Exchange, Fault

WAIT_SECONDS = 30.0


def wait_until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.02)


def slow_pushes(seconds: float) -> Fault:
    """An OpenCTI that takes so long for each push."""

    def delay(exchange: Exchange) -> bool:
        if b"stixBundlePush" in exchange.body():
            time.sleep(seconds)
        return False

    return delay


def answering(status: int, body: bytes = b"") -> Fault:
    """That answer to everything."""

    def answer(exchange: Exchange) -> bool:
        exchange.answer(status, body)
        return True

    return answer
