"""What an operator may write in the environment and in config.yml, and what is said about mistakes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from cluster25.errors import SettingsError
from cluster25.redaction import redact
from cluster25.settings import Settings, google_cloud_project, load_settings
from cluster25.state.document import LONGEST_LEASE

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REQUIRED = {
    "OPENCTI_URL": "https://opencti.example.org",
    "OPENCTI_TOKEN": "0fa7c1ce-settings-test-token",
    "CONNECTOR_ID": "c1f36ff8-3f5c-4dd6-a4ed-3d6ab1a3b0a5",
    "CLUSTER25_CLIENT_ID": "client-of-the-settings-test",
    "CLUSTER25_CLIENT_SECRET": "s3cret-of-the-settings-test",
}
DEFAULTS = {
    "OPENCTI_SSL_VERIFY": True,
    "CONNECTOR_NAME": "Cluster25",
    "CONNECTOR_SCOPE": "cluster25",
    "CONNECTOR_LOG_LEVEL": "info",
    "CONNECTOR_QUEUE_THRESHOLD": 500,
    "CLUSTER25_BASE_URL": "https://api.intelligence.cluster25.io/api/v1",
    "CLUSTER25_INDICATOR_TYPES": [
        "ipv4",
        "domain",
        "md5",
        "sha1",
        "sha256",
        "url",
        "email",
        "ipv6",
        "filename",
    ],
    "CLUSTER25_INTERVAL_SEC": 600,
    "CLUSTER25_IMPORT_START_DATE": "P7D",
    "CLUSTER25_OVERLAP_SEC": 900,
    "CLUSTER25_CREATE_OBSERVABLES": False,
    "CLUSTER25_RUN_BUDGET_SEC": 480,
    "CLUSTER25_LEASE_SEC": 570,
    "CLUSTER25_CHUNK_OBJECTS": 2000,
    "CLUSTER25_CHUNK_BYTES": 4194304,
    "CLUSTER25_MAX_EXPORT_OBJECTS": 5_000_000,
    "CLUSTER25_MAX_EXPORT_BYTES": 20_000_000_000,
    "STATE_STORE": "sqlite",
    "STATE_SQLITE_PATH": ".state/cluster25.db",
    "FIRESTORE_PROJECT": None,
    "FIRESTORE_DATABASE": "(default)",
    "FIRESTORE_COLLECTION": "cluster25_connector",
}


@pytest.fixture(autouse=True)
def empty_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, no config.yml in the working directory."""
    for variable in [*REQUIRED, *DEFAULTS, "K_SERVICE", "GOOGLE_CLOUD_PROJECT"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """Settings from an environment with the required variables and these."""
    for variable, value in (REQUIRED | variables).items():
        monkeypatch.setenv(variable, value)
    return load_settings()


def complaint(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, **variables)
    return str(caught.value)


def write_config(text: str) -> None:
    Path("config.yml").write_text(text, encoding="utf-8")


def test_only_what_is_required_gives_the_documented_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    in_force = load(monkeypatch).redacted()
    assert {name: in_force[name] for name in DEFAULTS} == DEFAULTS
    assert set(in_force) == {*REQUIRED, *DEFAULTS}


def test_firestore_is_the_default_store_on_google_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, K_SERVICE="cluster25-connector").state_store == "firestore"
    assert load(monkeypatch, K_SERVICE="cluster25-connector", STATE_STORE="SQLite").state_store == "sqlite"


def test_every_missing_variable_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert all(f"{variable} is not set" in str(caught.value) for variable in REQUIRED)
    assert "5 settings" in caught.value.what
    assert "config.yml" in caught.value.remedy


@pytest.mark.parametrize("nothing", ["", "  ", "ChangeMe"])
def test_an_empty_variable_or_changeme_counts_as_not_set(
    monkeypatch: pytest.MonkeyPatch, nothing: str
) -> None:
    assert "OPENCTI_TOKEN is not set" in complaint(monkeypatch, OPENCTI_TOKEN=nothing)
    assert load(monkeypatch, CLUSTER25_OVERLAP_SEC=nothing).cluster25_overlap_sec == 900


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("OPENCTI_URL", "opencti.example.org", "must be a URL"),
        ("OPENCTI_URL", "ftp://opencti.example.org", "must be a URL"),
        ("OPENCTI_URL", "https://opencti.example.org:port", "must be a URL"),
        ("OPENCTI_URL", "https://user:pw@opencti.example.org", "credentials"),
        ("OPENCTI_TOKEN", "two words", "ASCII"),
        ("OPENCTI_SSL_VERIFY", "no-such-file.pem", "CA certificates"),
        ("OPENCTI_SSL_VERIFY", "x" * 5000, "CA certificates"),
        ("CONNECTOR_ID", "cluster25", "UUID"),
        ("CONNECTOR_LOG_LEVEL", "loud", "'warn'"),
        ("CONNECTOR_QUEUE_THRESHOLD", "nan", "finite"),
        ("CONNECTOR_QUEUE_THRESHOLD", "0", "greater than 0"),
        ("CLUSTER25_BASE_URL", "http://api.example.org", "https"),
        ("CLUSTER25_BASE_URL", "https://api.example.org/v1?key=1", "query"),
        ("CLUSTER25_INDICATOR_TYPES", "ipv4,ipv5", "ipv5"),
        ("CLUSTER25_INDICATOR_TYPES", " , ", "filename"),
        ("CLUSTER25_INTERVAL_SEC", "0", "greater than or equal to 1"),
        ("CLUSTER25_IMPORT_START_DATE", "yesterday", "ISO 8601"),
        ("CLUSTER25_IMPORT_START_DATE", "7", "ISO 8601"),
        ("CLUSTER25_IMPORT_START_DATE", "2999-01-01", "future"),
        ("CLUSTER25_IMPORT_START_DATE", "-P7D", "future"),
        ("CLUSTER25_IMPORT_START_DATE", "P99999D", "1970"),
        ("CLUSTER25_IMPORT_START_DATE", "0001-01-01", "1970"),
        ("CLUSTER25_OVERLAP_SEC", "-1", "greater than or equal to 0"),
        ("CLUSTER25_CREATE_OBSERVABLES", "maybe", "boolean"),
        ("CLUSTER25_RUN_BUDGET_SEC", "soon", "integer"),
        ("CLUSTER25_LEASE_SEC", "480", "CLUSTER25_RUN_BUDGET_SEC"),
        ("CLUSTER25_CHUNK_OBJECTS", "0", "greater than or equal to 1"),
        ("CLUSTER25_CHUNK_BYTES", "60000000", "less than or equal to 50000000"),
        ("STATE_STORE", "redis", "'firestore' or 'sqlite'"),
        ("FIRESTORE_COLLECTION", "a/b", "without /"),
    ],
)
def test_a_wrong_value_is_explained_by_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, hint: str
) -> None:
    message = complaint(monkeypatch, **{variable: value})
    assert message.startswith("1 setting is missing or wrong: " + variable)
    assert hint in message


def test_all_problems_are_told_together_and_none_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("cluster25: {lease_sec: 10, chunk_bytes: many}")
    message = complaint(
        monkeypatch,
        OPENCTI_TOKEN="gehéim 123",
        OPENCTI_URL="https://someone:hunter22@opencti.example.org",
        CLUSTER25_RUN_BUDGET_SEC="10",
    )
    assert "4 settings are" in message
    assert "CLUSTER25_LEASE_SEC (in config.yml) must exceed CLUSTER25_RUN_BUDGET_SEC" in message
    assert "CLUSTER25_CHUNK_BYTES (in config.yml) should be a valid integer" in message
    for secret in ("gehéim", "hunter22", REQUIRED["CLUSTER25_CLIENT_SECRET"]):
        assert secret not in message


def test_a_budget_beyond_the_default_lease_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = complaint(monkeypatch, CLUSTER25_RUN_BUDGET_SEC="570")
    assert "CLUSTER25_LEASE_SEC must exceed CLUSTER25_RUN_BUDGET_SEC (570), but is 570" in message


def test_small_numbers_are_as_valid_as_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        CLUSTER25_OVERLAP_SEC="0",
        CLUSTER25_CHUNK_OBJECTS="1",
        CLUSTER25_CHUNK_BYTES="100",
        CLUSTER25_RUN_BUDGET_SEC="4",
        CLUSTER25_LEASE_SEC="5",
        CLUSTER25_INTERVAL_SEC="1",
        CONNECTOR_QUEUE_THRESHOLD="0.5",
    )
    assert (settings.cluster25_run_budget_sec, settings.cluster25_lease_sec) == (4, 5)
    assert settings.connector_queue_threshold == 0.5


def test_urls_lose_their_trailing_slash_and_loopback_needs_no_https(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch, OPENCTI_URL="http://opencti:8080/base/", CLUSTER25_BASE_URL="http://[::1]:81/v1/"
    )
    assert settings.opencti_url == "http://opencti:8080/base"
    assert settings.cluster25_base_url == "http://[::1]:81/v1"
    for host in ("localhost", "127.0.0.1"):
        assert load(monkeypatch, CLUSTER25_BASE_URL=f"http://{host}:8025")


def test_what_a_paste_adds_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        OPENCTI_TOKEN=REQUIRED["OPENCTI_TOKEN"] + "\n",
        CONNECTOR_ID=REQUIRED["CONNECTOR_ID"].upper(),
        CONNECTOR_LOG_LEVEL="WARNING",
        CLUSTER25_INDICATOR_TYPES=" URL, ipv4 ,,url ",
    )
    assert settings.opencti_token.get_secret_value() == REQUIRED["OPENCTI_TOKEN"]
    assert settings.connector_id == REQUIRED["CONNECTOR_ID"]
    assert settings.connector_log_level == "warn"
    assert settings.cluster25_indicator_types == ("url", "ipv4")


def test_tls_verification_can_be_off_or_use_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    assert load(monkeypatch, OPENCTI_SSL_VERIFY="False").opencti_ssl_verify is False
    assert load(monkeypatch, OPENCTI_SSL_VERIFY=str(bundle)).opencti_ssl_verify == bundle


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("P7D", NOW - timedelta(days=7)),
        ("PT12H", NOW - timedelta(hours=12)),
        ("p2w", NOW - timedelta(weeks=2)),
        ("P1M", NOW - timedelta(days=30)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31T08:00:00+02:00", datetime(2026, 1, 31, 6, tzinfo=UTC)),
        ("2026-01-31T08:00:00Z", datetime(2026, 1, 31, 8, tzinfo=UTC)),
    ],
)
def test_the_first_import_starts_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch, written: str, start: datetime
) -> None:
    assert load(monkeypatch, CLUSTER25_IMPORT_START_DATE=written).import_start(NOW) == start


def test_config_yml_in_the_seeds_shape_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_config(
        f"""
        opencti:
          url: {REQUIRED["OPENCTI_URL"]}
          token: 0123456789
          ssl_verify: false
        connector:
          id: {REQUIRED["CONNECTOR_ID"]}
          name: from the file
          log_level: debug
        cluster25:
          client_id: 0017
          client_secret: {REQUIRED["CLUSTER25_CLIENT_SECRET"]}
          indicator_types: [md5, sha1]
          import_start_date: 2026-01-31
          interval_sec:
        """
    )
    monkeypatch.setenv("CONNECTOR_NAME", "from the environment")
    monkeypatch.setenv("CONNECTOR_LOG_LEVEL", "")
    settings = load_settings()
    assert settings.connector_name == "from the environment"
    assert settings.connector_log_level == "debug"
    assert settings.opencti_ssl_verify is False
    assert settings.opencti_token.get_secret_value() == "0123456789"
    assert settings.cluster25_client_id == "0017"
    assert settings.cluster25_indicator_types == ("md5", "sha1")
    assert settings.import_start(NOW) == datetime(2026, 1, 31, tzinfo=UTC)
    assert settings.cluster25_interval_sec == 600


def test_an_unknown_key_in_config_yml_is_a_problem_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("{cluster25: {intervall_sec: 60}, colour: blue}")
    message = complaint(monkeypatch)
    assert (
        "CLUSTER25_INTERVALL_SEC (in config.yml) is no setting, did you mean CLUSTER25_INTERVAL_SEC?"
        in message
    )
    assert "COLOUR (in config.yml) is no setting" in message


@pytest.mark.parametrize(
    "text",
    [
        "connector: {log_level: [debug], name: {a: b}}",
        "cluster25: {import_start_date: [P7D], indicator_types: {ipv4: true}, base_url: [x]}",
        "opencti: {ssl_verify: {}, url: []}\nstate: {store: [sqlite]}",
    ],
)
def test_values_of_the_wrong_shape_in_config_yml_are_problems_not_crashes(text: str) -> None:
    write_config(text)
    with pytest.raises(SettingsError, match=r"\(in config.yml\)"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"opencti:\n  token: 'hunter22\n", "not valid YAML at line"),
        (b"token: \xff\xfe hunter22", "cannot be read"),
        (b"- hunter22", "no sections"),
    ],
)
def test_an_unreadable_config_yml_is_explained_without_quoting_it(content: bytes, hint: str) -> None:
    Path("config.yml").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert hint in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_an_empty_config_yml_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("# nothing yet\n")
    assert load(monkeypatch).connector_name == "Cluster25"


def test_no_dotenv_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CONNECTOR_NAME=from dotenv\n")
    assert load(monkeypatch).connector_name == "Cluster25"


def test_secrets_show_neither_in_repr_nor_in_the_status_nor_afterwards_in_any_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load(monkeypatch)
    shown = repr(settings) + str(settings) + json.dumps(settings.redacted())
    for variable in ("OPENCTI_TOKEN", "CLUSTER25_CLIENT_SECRET"):
        assert REQUIRED[variable] not in shown
        assert settings.redacted()[variable] == "***"
        assert redact(f"x{REQUIRED[variable]}y") == "x***y"


def test_the_project_of_the_traces_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert google_cloud_project() is None
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    assert google_cloud_project() == "my-project"


def sample_values() -> dict[str, Any]:
    sections = yaml.safe_load((ROOT / "config.yml.sample").read_text(encoding="utf-8"))
    return {
        f"{section}_{key}".upper(): value for section, keys in sections.items() for key, value in keys.items()
    }


@pytest.mark.parametrize(
    "example",
    [dotenv_values(ROOT / ".env.example"), sample_values()],
    ids=[".env.example", "config.yml.sample"],
)
def test_the_examples_name_every_setting_in_order_and_ask_for_what_is_required(
    example: dict[str, Any],
) -> None:
    assert list(example) == [field.upper() for field in Settings.model_fields]
    assert {name for name, value in example.items() if value == "ChangeMe"} == set(REQUIRED)


def test_env_example_states_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load(monkeypatch).redacted()
    example = {name: value or "" for name, value in dotenv_values(ROOT / ".env.example").items()}
    assert load(monkeypatch, **(example | REQUIRED)).redacted() == defaults


def test_config_yml_sample_states_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load(monkeypatch).redacted()
    write_config((ROOT / "config.yml.sample").read_text(encoding="utf-8"))
    assert load(monkeypatch).redacted() == defaults


def test_no_lease_is_set_that_would_count_as_none() -> None:
    [longest] = [
        bound.le for bound in Settings.model_fields["cluster25_lease_sec"].metadata if hasattr(bound, "le")
    ]
    assert longest == LONGEST_LEASE.total_seconds()
