"""Every setting: its name, its default, what it may be; from the environment and from `config.yml`.

A field is named after its environment variable. In `config.yml` the part before the first underscore is the
section: `CLUSTER25_BASE_URL` is `base_url` under `cluster25:`. The environment wins; empty values and
`ChangeMe` count as not set. Nothing here reads `.env`: that is for `make run` and Docker Compose.
"""

import os
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cluster25.config_file import CONFIG_FILE, read_config_file
from cluster25.errors import SettingsError
from cluster25.redaction import MASK, hide
from cluster25.setting_types import (
    INDICATOR_TYPES,
    Collection,
    ConnectorId,
    HeaderToken,
    ImportStart,
    IndicatorTypes,
    LogLevel,
    SecureUrl,
    StateStore,
    TlsVerify,
    Url,
)

_DAY_SECONDS = 86_400
_PLATFORM_BODY_LIMIT_BYTES = 50_000_000
"""OpenCTI's own `app:max_payload_body_size`, unless its operator changed it."""


def google_cloud_project() -> str | None:
    """The project whose traces log lines belong to, where `GOOGLE_CLOUD_PROJECT` names it."""
    return os.environ.get("GOOGLE_CLOUD_PROJECT") or None


def _store_of_this_place() -> Literal["firestore", "sqlite"]:
    """Cloud Run, which functions run on, sets `K_SERVICE` and keeps no files."""
    return "firestore" if os.environ.get("K_SERVICE") else "sqlite"


class Settings(BaseSettings):
    """All settings, checked. The constructor takes what `config.yml` says: the environment wins over it."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    opencti_url: Url
    opencti_token: HeaderToken
    opencti_ssl_verify: TlsVerify = True

    connector_id: ConnectorId
    connector_name: str = "Cluster25"
    connector_scope: str = "cluster25"
    connector_log_level: LogLevel = "info"
    connector_queue_threshold: float = Field(500, gt=0, allow_inf_nan=False)  # MB

    cluster25_base_url: SecureUrl = "https://api.intelligence.cluster25.io/api/v1"
    cluster25_client_id: str
    cluster25_client_secret: SecretStr
    cluster25_indicator_types: IndicatorTypes = INDICATOR_TYPES
    cluster25_interval_sec: int = Field(600, ge=1, le=7 * _DAY_SECONDS)
    cluster25_import_start_date: ImportStart = timedelta(days=7)
    cluster25_overlap_sec: int = Field(900, ge=0, le=30 * _DAY_SECONDS)
    cluster25_create_observables: bool = False
    cluster25_run_budget_sec: int = Field(480, ge=1, le=_DAY_SECONDS)
    cluster25_lease_sec: int = Field(570, ge=1, le=_DAY_SECONDS, validate_default=True)
    cluster25_chunk_objects: int = Field(2_000, ge=1, le=90_000)  # a page of the ledger is one document
    cluster25_chunk_bytes: int = Field(4_194_304, ge=1, le=_PLATFORM_BODY_LIMIT_BYTES)
    # Far more than one run can read; what goes beyond is endless by mistake or on purpose.
    cluster25_max_export_objects: int = Field(5_000_000, ge=1)
    cluster25_max_export_bytes: int = Field(20_000_000_000, ge=1)

    state_store: StateStore = Field(default_factory=_store_of_this_place)
    state_sqlite_path: Path = Path(".state/cluster25.db")
    firestore_project: str | None = None
    firestore_database: str = "(default)"
    firestore_collection: Collection = "cluster25_connector"

    @model_validator(mode="before")
    @classmethod
    def _drop_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Blanks around a value are never meant: files that hold secrets like to end in a line break."""
        stripped = {
            name: value.strip() if isinstance(value, str) else value for name, value in values.items()
        }
        return {name: value for name, value in stripped.items() if value not in ("", "ChangeMe")}

    @field_validator("cluster25_lease_sec")
    @classmethod
    def _outlive_the_budget(cls, lease_seconds: int, info: ValidationInfo) -> int:
        budget_seconds = info.data.get("cluster25_run_budget_sec", 0)
        if lease_seconds <= budget_seconds:
            raise ValueError(
                f"must exceed CLUSTER25_RUN_BUDGET_SEC ({budget_seconds}), but is {lease_seconds}"
            )
        return lease_seconds

    def model_post_init(self, context: Any, /) -> None:
        """From here on no log line and no answer can show the secrets."""
        super().model_post_init(context)
        hide(self.opencti_token.get_secret_value())
        hide(self.cluster25_client_secret.get_secret_value())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - given by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - given by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - given by name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before what the constructor was given."""
        return env_settings, init_settings

    def import_start(self, now: datetime) -> datetime:
        """The time from which a first import asks for indicators, when it is made at `now`."""
        start = self.cluster25_import_start_date
        return now - start if isinstance(start, timedelta) else start

    def redacted(self) -> dict[str, object]:
        """Every setting in force by the name of its variable, ready for JSON, secrets as `***`."""
        values = self.model_dump(mode="json")
        secrets = {name for name, value in self if isinstance(value, SecretStr)}
        return {name.upper(): MASK if name in secrets else value for name, value in values.items()}


def load_settings() -> Settings:
    """The settings of this process. Raises `SettingsError`, which lists every problem by variable name."""
    from_file = read_config_file()
    try:
        return Settings(**from_file)
    except ValidationError as error:
        problems = [_sentence(problem, from_file) for problem in error.errors(include_input=False)]
    listed = "; ".join(problems)
    raise SettingsError(
        f"{len(problems)} setting{'s are' if len(problems) > 1 else ' is'} missing or wrong: {listed}.",
        f"Correct this in the environment or in {CONFIG_FILE}; {CONFIG_FILE}.sample shows every setting.",
    )


def _sentence(problem: Any, from_file: dict[str, Any]) -> str:
    field = str(problem["loc"][0])
    variable = field.upper()
    origin = f" (in {CONFIG_FILE})" if field in from_file and not os.environ.get(variable) else ""
    match problem["type"]:
        case "missing":
            return f"{variable} is not set"
        case "extra_forbidden":
            nearest = get_close_matches(field, Settings.model_fields, n=1)
            hint = f", did you mean {nearest[0].upper()}?" if nearest else ""
            return f"{variable}{origin} is no setting{hint}"
        case _:
            complaint = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return f"{variable}{origin} {complaint}"
