"""Objects in the DICOM JSON Model, remembered: a viewer asks for the metadata of a series again and again.

Files are written once, so what was read of one stays true. What is kept is compressed, and bounded.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

from isal import isal_zlib

from dicom_node.archive.dicom_json import Model, model_of, text_of_model
from dicom_node.archive.files import ObjectStore

MOST_KEPT = 64 << 20  # bytes, compressed; a CT slice takes about 2 KB


class Models:
    """Reads objects of one data directory. For any number of threads."""

    def __init__(self, store: ObjectStore, most_kept: int = MOST_KEPT) -> None:
        self.store = store
        self._most = most_kept
        self._kept: OrderedDict[str, bytes] = OrderedDict()  # that used last is last
        self._bytes = 0
        self._lock = threading.Lock()

    def text(self, path: str) -> bytes:
        """An object as JSON, by its path relative to the data directory; see ``dicom_json`` for its BulkDataURIs.

        Raises:
            NotDicomError, HeaderError: the file is damaged.
            OSError: it is not there, or cannot be read.
        """
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None:
                self._kept.move_to_end(path)
        if kept is not None:
            return isal_zlib.decompress(kept)
        text = text_of_model(model_of(self.store.absolute(path)))
        self._keep(path, isal_zlib.compress(text, 1))
        return text

    def model(self, path: str) -> Model:
        """The same, taken apart."""
        found: dict[str, Any] = json.loads(self.text(path))
        return found

    def _keep(self, path: str, compressed: bytes) -> None:
        if len(compressed) > self._most // 4:
            return
        with self._lock:
            self._bytes += len(compressed) - len(self._kept.pop(path, b""))
            self._kept[path] = compressed
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1])
