"""The usual connector: the whole body parsed, split by pycti, and the original pushed by pycti's API client.

python -m bench.ways.usual SOURCE_URL SINK_URL
"""

import json
import sys

import requests
from pycti import OpenCTIApiClient, OpenCTIStix2Splitter

from bench.meter import Usage, report


def main() -> None:
    """Import one export as `OpenCTIConnectorHelper.send_stix2_bundle` does that goes through the API."""
    source_url, sink_url = sys.argv[1:]
    after_imports = Usage.now()
    export = requests.get(f"{source_url}/export/indicators", timeout=600).json()
    bundle = json.dumps(export)
    api = OpenCTIApiClient(sink_url, "token", log_level="error", perform_health_check=False)
    expectations, _, _ = OpenCTIStix2Splitter().split_bundle_with_expectations(bundle, use_json=True)
    api.send_bundle_to_api(connector_id="bench", bundle=bundle)
    report(after_imports, expectations)


if __name__ == "__main__":
    main()
