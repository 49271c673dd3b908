"""Which store, as the settings say."""

from cluster25.settings import Settings
from cluster25.state.store import Store


def open_store(settings: Settings) -> Store:
    """The store of this connector; nothing is read or connected yet."""
    connector_id = str(settings.connector_id)
    if settings.state_store == "sqlite":
        from cluster25.state.sqlite import SqliteStore  # noqa: PLC0415 - one of the two is never needed

        return SqliteStore(settings.state_sqlite_path, connector_id)
    from cluster25.state.firestore import FirestoreStore  # noqa: PLC0415 - gRPC is slow to import

    return FirestoreStore(
        settings.firestore_project,
        settings.firestore_database,
        settings.firestore_collection,
        connector_id,
    )
