"""What Firestore's errors mean for an operator."""

from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from cluster25.errors import SettingsError, StateUnavailableError


@contextmanager
def errors_explained(database: str) -> Iterator[None]:
    """Google's errors as StateUnavailableError, or as SettingsError when a person is needed."""
    try:
        yield
    except (exceptions.PermissionDenied, exceptions.Unauthenticated) as error:
        raise SettingsError(
            f"Firestore refused access to database {database}: {error.message}",
            "Grant roles/datastore.user on that database to the service account this runs as.",
        ) from error
    except (exceptions.NotFound, exceptions.BadRequest) as error:
        raise SettingsError(
            f"Firestore cannot do what is asked: {error.message}",
            "Check FIRESTORE_PROJECT, FIRESTORE_DATABASE, FIRESTORE_COLLECTION; the mode must be Native.",
        ) from error
    except GoogleAuthError as error:
        raise SettingsError(
            f"There are no usable credentials for Firestore: {error}",
            "Attach a service account, or set GOOGLE_APPLICATION_CREDENTIALS or FIRESTORE_EMULATOR_HOST.",
        ) from error
    except exceptions.GoogleAPIError as error:
        raise StateUnavailableError(
            f"Firestore database {database} did not answer as it should: {error}",
            "It is tried again with the next run; see https://status.cloud.google.com if it lasts.",
        ) from error
