"""Of pycti, the function loads what it uses; others in the process still get the whole."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(program: str) -> str:
    """What a fresh interpreter prints for it."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_the_function_loads_neither_web_server_nor_queue_nor_object_store() -> None:
    loaded = python(
        "import sys, main, cluster25.state.sqlite; print(*{name.split('.')[0] for name in sys.modules})"
    )
    assert {"requests", "stix2", "cluster25"} <= set(loaded.split())
    assert not {"fastapi", "uvicorn", "boto3", "pika", "prometheus_client"} & set(loaded.split())


def test_who_imports_pycti_later_gets_the_whole_of_it() -> None:
    same = python(
        "from cluster25.pycti_parts import Identity, OpenCTIApiClient\n"
        "import pycti\n"
        "print(pycti.OpenCTIApiClient is OpenCTIApiClient, pycti.Identity is Identity)\n"
        "print(pycti.OpenCTIConnectorHelper.__name__, pycti.__version__)"
    )
    version = python("from importlib.metadata import version; print(version('pycti'))")
    assert same == f"True True\nOpenCTIConnectorHelper {version}"


def test_where_pycti_is_loaded_already_its_parts_are_those() -> None:
    same = python(
        "import pycti\n"
        "from cluster25.pycti_parts import OpenCTIApiClient\n"
        "import sys; print(pycti.OpenCTIApiClient is OpenCTIApiClient, sys.modules['pycti'] is pycti)"
    )
    assert same == "True True"


def test_the_client_names_the_release_of_pycti_that_is_installed() -> None:
    agent = python(
        "from cluster25.pycti_parts import OpenCTIApiClient\n"
        "client = OpenCTIApiClient('http://127.0.0.1:9', 't', perform_health_check=False)\n"
        "print(client.request_headers['User-Agent'])"
    )
    assert agent.startswith("pycti/" + python("import pycti; print(pycti.__version__)"))
