"""One target under Atheris, which looks for inputs that reach new branches: ``python -m fuzz.guided TARGET …``.

All other arguments are libFuzzer's. It ends with a status other than 0 at the first fault, and keeps its input.
"""

from __future__ import annotations

import logging
import sys
import warnings

import atheris

with atheris.instrument_imports(include=["dicom_node", "fuzz.targets", "fuzz.records"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    logging.disable()
    warnings.simplefilter("ignore")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
