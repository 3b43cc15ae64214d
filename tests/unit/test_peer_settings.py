"""Peers of every kind, and keys that do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.settings import load

DICOM = 'name = "pacs"\nae_title = "PACS"\nhost = "10.0.0.5"\nport = 104\n'
WEB = 'name = "pacs"\nkind = "dicomweb"\nurl = "https://pacs.example.org/dicom-web"\n'
FOLDER = 'name = "pacs"\nkind = "folder"\nfolder = "export"\n'
OAUTH = (
    WEB + 'auth = "oauth2"\nuser = "node"\nsecret = "file:pacs.secret"\ntoken_url = "https://id.example.org/token"\n'
)


def peer(folder: Path, text: str) -> object:
    file = folder / "dicom-node.toml"
    file.write_text(f"[[peers]]\n{text}")
    (made,) = load(file, {}).settings.peers
    return made


def test_relative_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    made = peer(tmp_path, OAUTH + 'ca = "tls/ca.pem"\n')
    assert (made.secret, made.ca) == (f"file:{tmp_path / 'pacs.secret'}", tmp_path / "tls" / "ca.pem")
    assert peer(tmp_path, FOLDER).folder == tmp_path / "export"
    assert peer(tmp_path, WEB + 'auth = "basic"\nuser = "u"\nsecret = "env:X"\n').secret == "env:X"


def test_only_application_entities_may_send(tmp_path: Path) -> None:
    assert peer(tmp_path, DICOM).receives
    assert not peer(tmp_path, WEB).receives
    assert not peer(tmp_path, FOLDER).receives


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('name = "pacs"\nhost = "x"\nport = 1\n', "ae_title", "is missing; a peer of kind 'dicom' needs it"),
        (DICOM.replace('"PACS"', '""'), "ae_title", "should not be empty"),
        (DICOM.replace("104", "0"), "port", "greater than or equal to 1"),
        (DICOM + 'url = "http://x/y"\n', "url", "no meaning for a peer of kind 'dicom', only of 'dicomweb'"),
        (WEB + "port = 104\n", "port", "no meaning for a peer of kind 'dicomweb', only of 'dicom'"),
        (WEB + "tls = true\n", "tls", "no meaning"),
        (FOLDER + 'url = "http://x/y"\n', "url", "no meaning"),
        ('name = "pacs"\nkind = "dicomweb"\n', "url", "is missing"),
        ('name = "pacs"\nkind = "folder"\n', "folder", "is missing"),
        (WEB.replace("https://", ""), "url", "should be a URL"),
        (WEB.replace("https://", "https://user:hunter2@"), "url", "without user, password"),
        (WEB.replace("dicom-web", "dicom-web?key=hunter2"), "url", "without user, password or query"),
        (WEB + 'verify = "commitment"\n', "verify", "of peers of kind 'dicom' alone"),
        (WEB + 'auth = "basic"\nuser = "u"\n', "secret", "is missing; auth = 'basic' needs it"),
        (WEB + 'auth = "oauth2"\nuser = "u"\nsecret = "env:X"\n', "token_url", "is missing"),
        (WEB + 'auth = "basic"\nuser = "u"\nsecret = "hunter2"\n', "secret", "should say where the secret stands"),
        (WEB + 'secret = "env:X"\n', "secret", "is not used with auth = 'none'"),
        (OAUTH.replace("https://id.", "ftp://id."), "token_url", "should be a URL"),
        (DICOM + 'send_hours = ["7-19"]\n', "send_hours", "should be hours such as"),
        (DICOM + "connections = 9\n", "connections", "less than or equal to 8"),
    ],
)
def test_what_does_not_fit_is_refused_by_key_and_without_the_secret(
    tmp_path: Path, text: str, key: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        peer(tmp_path, text)
    assert caught.value.key == f"peers[1].{key}"
    assert message in caught.value.message
    assert "hunter2" not in str(caught.value)
