"""``dicom-node`` whose supervisor pauses for a second at most, for tests that end its processes again and again."""

import sys
from pathlib import Path

from dicom_node import supervisor
from dicom_node.cli.main import main

PROGRAM = (sys.executable, Path(__file__))  # its command line

if __name__ == "__main__":
    supervisor.LONGEST_PAUSE_S = 1.0
    main()
