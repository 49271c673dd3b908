"""State in Firestore: one document per connector, with its ledger pages and rejected objects below it.

```
{collection}/{connector_id}                          the document
{collection}/{connector_id}/ledger/{gen}-{number}    pages, named so that their names sort like they do
{collection}/{connector_id}/rejected/{key}           with `expires_at`, for a TTL policy
```

A write is one batch whose precondition is the revision it was made from. No transaction is used: one holds
locks while its client thinks, and for about a minute more when that client is killed.
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.field_path import FieldPath

from cluster25.errors import SettingsError, StateDamagedError
from cluster25.state.firestore_errors import errors_explained
from cluster25.state.store import ConflictError, Page, Rejected, Stored

TIMEOUT_SECONDS = 10.0
PAGES_PER_QUERY = 16
"""Of at most 512 KiB each: what is in memory at a time, and must come within the timeout."""
BATCH_WRITES = 100
BATCH_BYTES = 3_000_000
"""The service takes 10 MiB in a request, its emulator 4."""

CONFLICTS = (exceptions.Aborted, exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound)
"""Somebody else wrote first, is writing right now, or deleted the document."""


class FirestoreStore:
    """The store of one connector; the client is made at the first call, so never before a fork."""

    def __init__(
        self,
        project: str | None,
        database: str,
        collection: str,
        connector_id: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`project` None means that of the credentials; the timeout bounds each call to Firestore."""
        self._project = project
        self._database = database
        self._collection = collection
        self._connector_id = connector_id
        # An idle channel may be found dead at its next use. Tries end at half of the time, so that the last
        # one ends within it. Aborted writes are not tried again here: who writes first reads anew.
        retry = Retry(if_exception_type(exceptions.ServiceUnavailable), 0.1, 1.0, timeout=timeout_seconds / 2)
        self._limits: dict[str, Any] = {"retry": retry, "timeout": timeout_seconds}

    @property
    def location(self) -> str:
        """The document's path and database."""
        return f"Firestore document {self._collection}/{self._connector_id} of database {self._database}"

    @cached_property
    def _client(self) -> firestore.Client:
        try:
            return firestore.Client(project=self._project, database=self._database)
        except OSError as error:  # what the library raises where nothing names a project
            raise SettingsError(
                f"It is not known which project Firestore is in: {error}", "Set FIRESTORE_PROJECT."
            ) from error

    @property
    def _document(self) -> firestore.DocumentReference:
        return self._client.collection(self._collection).document(self._connector_id)

    @property
    def _ledger(self) -> firestore.CollectionReference:
        ledger: firestore.CollectionReference = self._document.collection("ledger")
        return ledger

    @property
    def _rejected(self) -> firestore.CollectionReference:
        rejected: firestore.CollectionReference = self._document.collection("rejected")
        return rejected

    def read(self) -> Stored | None:
        """See `Store.read`."""
        with errors_explained(self._database):
            snapshot = self._document.get(**self._limits)
        document = snapshot.to_dict()
        return None if document is None else Stored(document, snapshot.update_time)

    def write(self, document: dict[str, Any], replaces: Stored | None, page: Page | None = None) -> Stored:
        """See `Store.write`."""
        with errors_explained(self._database):
            batch = self._client.batch()
            if replaces is None:
                batch.create(self._document, document)
            else:
                unchanged_since = self._client.write_option(last_update_time=replaces.revision)
                batch.update(self._document, _changes(replaces.document, document), option=unchanged_since)
            if page is not None:
                batch.set(
                    self._ledger.document(_page_name(page.generation, page.number)), {"entries": page.entries}
                )
            try:
                results = batch.commit(**self._limits)
            except CONFLICTS as error:
                if isinstance(error, exceptions.NotFound) and replaces is None:
                    raise
                raise ConflictError from error
        return Stored(document, results[0].update_time)

    def read_pages(self, generation: int, count: int) -> Iterator[bytes]:
        """See `Store.read_pages`."""
        numbers = iter(range(count))
        while group := list(islice(numbers, PAGES_PER_QUERY)):
            names = [_page_name(generation, number) for number in group]
            query = (
                self._ledger.where(filter=self._name_filter(">=", names[0]))
                .where(filter=self._name_filter("<=", names[-1]))
                .order_by(FieldPath.document_id())
            )
            with errors_explained(self._database):
                found = {page.id: page.to_dict() or {} for page in self._stream(query)}
            for name in names:
                entries = found.get(name, {}).get("entries")
                if not isinstance(entries, bytes):
                    raise StateDamagedError(
                        f"Ledger page {name} is missing, or holds no bytes.",
                        f"Nothing was changed in {self.location}. Restore it and its subcollection ledger by "
                        "point-in-time recovery, or delete the document to start over.",
                    )
                yield entries

    def write_page(self, page: Page) -> None:
        """See `Store.write_page`."""
        with errors_explained(self._database):
            self._ledger.document(_page_name(page.generation, page.number)).set(
                {"entries": page.entries}, **self._limits
            )

    def sweep_pages(self, before_generation: int) -> None:
        """See `Store.sweep_pages`."""
        query = (
            self._ledger.where(filter=self._name_filter("<", _page_name(before_generation, 0)))
            .select([])
            .limit(BATCH_WRITES)
        )
        with errors_explained(self._database):
            while pages := list(self._stream(query)):
                batch = self._client.batch()
                for page in pages:
                    batch.delete(page.reference)
                batch.commit(**self._limits)

    def add_rejected(self, rejected: list[Rejected]) -> None:
        """See `Store.add_rejected`."""
        with errors_explained(self._database):
            for group in _batches(rejected):
                batch = self._client.batch()
                for one in group:
                    batch.set(self._rejected.document(one.key), asdict(one))
                batch.commit(**self._limits)

    def read_rejected(self, now: datetime, limit: int) -> list[Rejected]:
        """See `Store.read_rejected`."""
        query = (
            self._rejected.where(filter=FieldFilter("expires_at", ">", now))
            .order_by("expires_at", direction=firestore.Query.DESCENDING)
            .limit(limit)
        )
        with errors_explained(self._database):
            return [Rejected(**(found.to_dict() or {})) for found in self._stream(query)]

    def remove_rejected(self, rejected: list[Rejected]) -> None:
        """See `Store.remove_rejected`."""
        with errors_explained(self._database):
            for start in range(0, len(rejected), BATCH_WRITES):
                batch = self._client.batch()
                for one in rejected[start : start + BATCH_WRITES]:
                    batch.delete(self._rejected.document(one.key))
                batch.commit(**self._limits)

    def _name_filter(self, comparison: str, name: str) -> FieldFilter:
        return FieldFilter(FieldPath.document_id(), comparison, self._ledger.document(name))

    def _stream(self, query: firestore.Query) -> Iterator[firestore.DocumentSnapshot[Any]]:
        yield from query.stream(**self._limits)


def _page_name(generation: int, number: int) -> str:
    return f"{generation:08d}-{number:06d}"


def _batches(rejected: list[Rejected]) -> Iterator[list[Rejected]]:
    group: list[Rejected] = []
    for one in rejected:
        if group and len(one.content) + sum(len(other.content) for other in group) > BATCH_BYTES:
            yield group
            group = []
        group.append(one)
        if len(group) == BATCH_WRITES:
            yield group
            group = []
    if group:
        yield group


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The top-level fields that differ: the inline ledger is large and seldom among them."""
    changes = {name: value for name, value in after.items() if name not in before or before[name] != value}
    removals = dict.fromkeys(before.keys() - after.keys(), firestore.DELETE_FIELD)
    # Firestore refuses an empty update, which would not check the revision.
    return {**changes, **removals} or after
