"""`make fuzz`: atheris, which mutates the cases of the corpus towards code that none has reached yet."""

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["cluster25"]):
    from fuzz.case import check, mutated


def mutate(case: bytes, max_bytes: int, seed: int) -> bytes:
    """Every second time token by token: bytes changed at random seldom leave JSON."""
    random = Random(seed)
    if random.random() < 0.5:
        return mutated(case, random)[:max_bytes]
    changed: bytes = atheris.Mutate(case, max_bytes)
    return changed


if __name__ == "__main__":
    atheris.Setup(sys.argv, check, custom_mutator=mutate)
    atheris.Fuzz()
