"""This connector under functions-framework: a first import, with the settings of the environment.

python -m bench.ways.connector
"""

import os
import sys
from importlib import import_module
from pathlib import Path

from functions_framework import create_app

from bench.meter import Usage, report

MAIN = Path(__file__).parents[2] / "main.py"


def main() -> None:
    """Call the function once; its answer must be `ok`."""
    client = create_app("cluster25_connector", str(MAIN)).test_client()
    import_module(f"cluster25.state.{os.environ['STATE_STORE']}")  # the first call would import it
    after_imports = Usage.now()
    answer = client.post("/").get_json()
    if answer["outcome"] != "ok":
        sys.exit(str(answer))
    report(after_imports, answer["pushed"])


if __name__ == "__main__":
    main()
