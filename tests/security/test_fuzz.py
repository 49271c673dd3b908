"""A few of the cases that `make fuzz` tries for longer; all that it has found, again and again."""

import logging
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.case import check, mutated

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus").iterdir())


AUTOUSE = [HealthCheck.function_scoped_fixture]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A case silences all logging."""
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_each_case_of_the_corpus(file: Path) -> None:
    check(file.read_bytes())


@settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=AUTOUSE)
@given(st.sampled_from(CORPUS), st.integers(min_value=0), st.integers(1, 6))
def test_cases_mutated_at_random(file: Path, seed: int, mutations: int) -> None:
    random, case = Random(seed), file.read_bytes()
    for _ in range(mutations):
        case = mutated(case, random)
    check(case[:25_000])


@settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=AUTOUSE)
@given(st.binary(max_size=200))
def test_bytes_at_random(case: bytes) -> None:
    check(case)
