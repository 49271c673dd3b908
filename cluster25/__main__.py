"""`python -m cluster25`."""

import sys

from cluster25.operation.command_line import main

if __name__ == "__main__":
    sys.exit(main())
