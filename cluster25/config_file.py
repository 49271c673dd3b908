"""`config.yml`: the same settings as in the environment, in sections."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cluster25.errors import SettingsError

CONFIG_FILE = "config.yml"


def read_config_file() -> dict[str, Any]:
    """What `config.yml` in the working directory sets: `url` under `opencti:` comes as `opencti_url`.

    Values are text, or lists of text, as written, so that they mean the same as in the environment (YAML
    would make 83 of a secret 0123). Empty when there is no such file, `SettingsError` when it is unreadable.
    """
    path = Path(CONFIG_FILE)
    try:
        sections = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506 - makes only text
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{CONFIG_FILE} cannot be read ({type(error).__name__}).", "Make it a readable UTF-8 text file."
        ) from None
    except yaml.YAMLError as error:
        # the error's own text quotes the line, which may hold a secret
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(
            f"{CONFIG_FILE} is not valid YAML{place}.", f"Correct it; {CONFIG_FILE}.sample shows the form."
        ) from None
    if not sections:
        return {}
    if not isinstance(sections, dict):
        raise SettingsError(f"{CONFIG_FILE} has no sections.", f"{CONFIG_FILE}.sample shows the form.")
    return dict(_flat(sections))


def _flat(sections: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, content in sections.items():
        if isinstance(content, dict):
            for key, value in content.items():
                yield f"{section}_{key}".lower(), value
        elif content:
            yield section.lower(), content
