from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicom_node.archive import journal
from dicom_node.archive.journal import names_follow_files

LINE = "36 25 {device} / /data rw,noatime shared:1 - {kind} /dev/sda1 rw,errors=continue\n"


@pytest.mark.parametrize(
    ("kind", "follow"), [("ext4", True), ("xfs", True), ("btrfs", False), ("overlay", False), ("nfs4", False)]
)
def test_only_known_file_systems_write_the_name_with_the_file(
    kind: str, follow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = tmp_path.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(LINE.format(device="0:9999", kind="ext4") + LINE.format(device=device, kind=kind))
    monkeypatch.setattr(journal, "_MOUNTS", mounts)
    assert names_follow_files(tmp_path) is follow


def test_nothing_is_assumed_where_the_system_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MOUNTS", tmp_path / "absent")
    assert not names_follow_files(tmp_path)
    (tmp_path / "absent").write_text("no mount of ours\n")
    assert not names_follow_files(tmp_path)
