"""The connector of this process: everything that is kept from one call to the next."""

from dataclasses import dataclass

from cluster25.client import AccessToken, Cluster25Client
from cluster25.clock import Clock
from cluster25.opencti import OpenCTI
from cluster25.settings import Settings
from cluster25.state.opening import open_store
from cluster25.state.store import Store
from cluster25.sync import Sync


@dataclass(frozen=True)
class Connector:
    """Settings, Cluster25's token, the store's channel, the time."""

    settings: Settings
    token: AccessToken
    store: Store
    clock: Clock

    @classmethod
    def of(cls, settings: Settings, clock: Clock) -> "Connector":
        """The connector that the settings describe; nobody is called yet."""
        return cls(settings, AccessToken(), open_store(settings), clock)

    def source(self, token: AccessToken) -> Cluster25Client:
        """A connection to Cluster25 that uses and renews this token."""
        settings = self.settings
        return Cluster25Client(
            settings.cluster25_base_url,
            settings.cluster25_client_id,
            settings.cluster25_client_secret,
            token,
        )

    def sync(self) -> Sync:
        """The work of one call, with connections of its own: calls may come at the same time."""
        return Sync(self.settings, self.source(self.token), OpenCTI(self.settings), self.store, self.clock)
