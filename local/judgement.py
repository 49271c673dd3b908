"""What OpenCTI's workers would make of the bundles that were pushed, judged by pycti's own splitter."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from local.indicators import PLATFORM_MARKING_IDS

Reference = tuple[str, str]
"""The id of an object and an id it refers to."""


@dataclass
class Judgement:
    """What would become of all bundles; `sound` when nothing would be lost or fail."""

    objects: int = 0
    """Objects in all bundles, as pushed."""
    expectations: int = 0
    """Objects the workers would try to import."""
    incompatible: list[str] = field(default_factory=list)
    """Ids of what the splitter drops."""
    dangling: list[Reference] = field(default_factory=list)
    """References to what no bundle brought and the platform does not have."""
    unaccompanied: list[Reference] = field(default_factory=list)
    """References to an author or marking that is not in the same bundle."""

    @property
    def sound(self) -> bool:
        """Whether every object would be imported, and exactly as many as were pushed."""
        lost = self.incompatible or self.dangling or self.unaccompanied
        return not lost and self.expectations == self.objects


def judge_bundles(bundles: Iterable[dict[str, Any]]) -> Judgement:
    """Split every bundle (they are changed by it) and follow every reference."""
    judgement = Judgement()
    known = set(PLATFORM_MARKING_IDS)
    references: set[Reference] = set()
    for bundle in bundles:
        objects: list[dict[str, Any]] = bundle["objects"]
        own = {found["id"] for found in objects} | set(PLATFORM_MARKING_IDS)
        known |= own
        for found in objects:
            references.update((found["id"], referred) for _, referred in references_of(found))
            judgement.unaccompanied.extend(
                (found["id"], referred)
                for key, referred in references_of(found)
                if key in {"created_by_ref", "object_marking_refs"} and referred not in own
            )
        judgement.objects += len(objects)
        expectations, incompatible = split_bundle(bundle)
        judgement.expectations += expectations
        judgement.incompatible.extend(item["id"] for item in incompatible)
    judgement.dangling = sorted(reference for reference in references if reference[1] not in known)
    return judgement


def split_bundle(bundle: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """How many objects a worker expects of the bundle (which is changed by it), and what it drops."""
    # Half a second, which only a judge should pay, unless cluster25.pycti_parts has loaded it.
    from pycti.utils.opencti_stix2_splitter import OpenCTIStix2Splitter  # noqa: PLC0415

    splitter = OpenCTIStix2Splitter()
    expectations, incompatible, _ = splitter.split_bundle_with_expectations(bundle, use_json=False)
    return expectations, incompatible


def references_of(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The key and the id of every reference of an object."""
    for key, value in found.items():
        if key.endswith("_ref") and isinstance(value, str):
            yield key, value
        elif key.endswith("_refs") and isinstance(value, list):
            yield from ((key, referred) for referred in value)
