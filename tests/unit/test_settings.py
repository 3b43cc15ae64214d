"""Settings: what loads, and how what does not load is told."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dicom_node.errors import ConfigurationError
from dicom_node.settings import Configuration, Settings, load

WHOLE = """\
    [node]
    ae_title = "NODE"
    port = 11113
    [[peers]]
    name = "pacs"
    ae_title = "ORTHANC"
    host = "10.0.0.5"
    port = 4242
    [[peers]]
    name = "workstation"
    ae_title = "WS"
    host = "10.0.0.6"
    port = 104
    [[rules]]
    name = "lungs"
    model = "ct_lung_density"
    all = [
        'Modality == "CT"',
        'instances >= 20',
    ]
    send_to = ["pacs"]
"""


def _load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Configuration:
    file = tmp_path / "dicom-node.toml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return load(file, environment or {})


def test_nothing_at_all_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(None, {})
    assert loaded.source.file is None
    assert loaded.settings.node.ae_title == "DICOMNODE"
    assert loaded.settings.node.unknown_peers == "reject"
    assert loaded.settings.node.data_dir == tmp_path / "dicom-node-data"


def test_the_file_of_the_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dicom-node.toml").write_text("[node]\nport = 104\n")
    assert load(None, {}).settings.node.port == 104


def test_a_whole_file_loads(tmp_path: Path) -> None:
    settings = _load(tmp_path, WHOLE).settings
    assert settings.node.port == 11113
    assert [peer.name for peer in settings.peers] == ["pacs", "workstation"]
    assert settings.rules[0].all == ('Modality == "CT"', "instances >= 20")
    assert settings.peer("pacs") is settings.peers[0]
    assert settings.peer("nobody") is None


def test_relative_paths_count_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    settings = _load(tmp_path, '[node]\ndata_dir = "data"\n[models]\nfolders = ["mine", "/opt/models"]\n').settings
    assert settings.node.data_dir == tmp_path / "data"
    assert settings.models.folders == (tmp_path / "mine", Path("/opt/models"))


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("[node]\nport = 0\n", 2, "node.port", "greater than or equal to 1, not 0"),
        ("[node]\nport = 65536\n", 2, "node.port", "less than or equal to 65535, not 65536"),
        ('[node]\n\nport = "104"\n', 3, "node.port", "valid integer, not '104'"),
        ("[node]\nport = true\n", 2, "node.port", "valid integer, not True"),
        ("[node]\nprot = 104\n", 2, "node.prot", "unknown key 'prot'; known here: ae_title, host, port"),
        ("[nodes]\nport = 104\n", 1, "nodes", "unknown key 'nodes'; known here: node, tls, web"),
        ('[node]\nae_title = "SEVENTEEN_LETTERS"\n', 2, "node.ae_title", "at most 16 characters"),
        ('[node]\nae_title = "A\\\\B"\n', 2, "node.ae_title", "match pattern"),
        ('[node]\nae_title = "   "\n', 2, "node.ae_title", "match pattern"),
        ('[node]\nunknown_peers = "perhaps"\n', 2, "node.unknown_peers", "'reject' or 'accept', not 'perhaps'"),
        ("# first\n[completion]\nquiet_seconds = -1.0\n", 3, "completion.quiet_seconds", "greater than or equal to 0"),
        ("[worker]\nmaximum_attempts = 0\n", 2, "worker.maximum_attempts", "greater than or equal to 1"),
        ("[delivery]\nfirst_pause_seconds = 0\n", 2, "delivery.first_pause_seconds", "greater than 0"),
        ('[node]\ntime_zone = "Mars/Olympus"\n', 2, "node.time_zone", "such as 'Europe/Zurich', not 'Mars/Olympus'"),
        ('[node]\ntime_zone = "../etc/passwd"\n', 2, "node.time_zone", "such as 'Europe/Zurich'"),
        ('[tls]\nport = "tls"\n', 2, "tls.port", "valid integer"),
        ('[tls]\ncertificate = "node.pem"\n', 1, "tls.key", "is missing; a certificate and its key belong together"),
        ('[tls]\nkey = "node.key"\n', 1, "tls.certificate", "is missing"),
        ('[tls]\nclient_certificates = "maybe"\n', 2, "tls.client_certificates", "'required' or 'none'"),
        ("[node]\nleast_free_percent = 100.0\n", 2, "node.least_free_percent", "less than 100"),
        ("node = 3\n", None, "node", "not 3"),
        ('[[peers]]\nname = "p"\n', 1, "peers[1].ae_title", "is missing"),
    ],
)
def test_a_fault_is_told_with_file_line_and_key(
    tmp_path: Path, text: str, line: int | None, key: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, text)
    assert (caught.value.line, caught.value.key) == (line, key)
    place = f"{tmp_path / 'dicom-node.toml'}" + (f":{line}" if line else "")
    assert caught.value.message.startswith(f"{place}: {key}: ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ('name = "workstation"', 'name = "pacs"', 10, "peers[2].name", "two peers are named 'pacs'"),
        ("port = 104", "port = 0", 13, "peers[2].port", "greater than or equal to 1"),
        ('["pacs"]', '["pax"]', 21, "rules[1].send_to", "no peer is named 'pax' (known: pacs, workstation)"),
        ("'instances >= 20'", "20", 17, "rules[1].all[2]", "valid string, not 20"),
        ("port = 104", 'port = 104\ncommitment = "relay"', 9, "peers[2].relay_to", "is missing"),
        ("port = 104", 'port = 104\ncommitment = "relay"\nrelay_to = "x"', 15, "peers[2].relay_to", "no peer is named"),
        (
            "port = 104",
            'port = 104\ncommitment = "relay"\nrelay_to = "pacs"',
            15,
            "peers[2].relay_to",
            "is not asked for commitment",
        ),
        (
            "port = 104",
            'port = 104\nrelay_to = "pacs"',
            14,
            "peers[2].relay_to",
            "goes with commitment = 'relay' alone",
        ),
        ("port = 104", 'port = 104\nchange = { set = { PatientID = "A" } }', 14, "peers[2].change.set", "cannot be"),
        ("port = 104", 'port = 104\nchange = { prefix = { PatientID = "A" } }', 14, "peers[2].change.prefix", "issuer"),
        ("port = 104", 'port = 104\ncommitment = "archive"', 9, "peers[2].commitment_days", "is missing"),
        ("port = 104", "port = 104\ntls = true", 14, "peers[2].tls", "to send to us it must use TLS"),
        ("port = 104", 'port = 104\ncertificate = "CN=ws"', 14, "peers[2].certificate", "without TLS"),
        ("port = 104", 'port = 104\ncertificate = "sha256:00ff"', 14, "peers[2].certificate", "64 hex digits"),
        ("port = 104", 'port = 104\ncertificate = "ws.clinic"', 14, "peers[2].certificate", "such as 'CN=ct1"),
        ("port = 104", 'port = 104\naddresses = ["ws"]', 14, "peers[2].addresses", "a network such as '10.0.0.0/24'"),
        ("port = 104", 'port = 104\nsop_classes = ["CT"]', 14, "peers[2].sop_classes", "should be a UID"),
        (
            "port = 104",
            "port = 104\nbytes_per_second = 0",
            14,
            "peers[2].bytes_per_second",
            "greater than or equal to 1",
        ),
        ('name = "lungs"', 'nmae = "lungs"', 15, "rules[1].nmae", "unknown key 'nmae'"),
        ('name = "lungs"', 'name = "lungs"\nuseful_for = 0', 16, "rules[1].useful_for", "greater than 0"),
    ],
)
def test_a_fault_in_a_block_is_told_with_its_own_line(
    tmp_path: Path, old: str, new: str, line: int, key: str, message: str
) -> None:
    assert WHOLE.count(old) == 1
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, WHOLE.replace(old, new))
    assert (caught.value.line, caught.value.key) == (line, key)
    assert message in caught.value.message


def test_files_of_tls_count_from_the_file_and_certificates_must_be_asked_for(tmp_path: Path) -> None:
    text = textwrap.dedent(WHOLE).replace("port = 104", "port = 104\ntls = true\ncertificate = 'CN=ws'")
    text += '[tls]\ncertificate = "node.pem"\nkey = "keys/node.key"\n'
    settings = _load(tmp_path, text).settings
    assert (settings.tls.certificate, settings.tls.key) == (tmp_path / "node.pem", tmp_path / "keys" / "node.key")
    assert settings.tls.ca is None
    with pytest.raises(ConfigurationError, match="is never asked for"):
        _load(tmp_path, text + 'client_certificates = "none"\n')


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not TOML") as caught:
        _load(tmp_path, "[node]\nport = \n")
    assert caught.value.line == 2


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file") as caught:
        load(tmp_path / "none.toml", {})
    assert "dicom-node init" in caught.value.remedy


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "dicom-node.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(file, {})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environment = {
        "DICOM_NODE__NODE__PORT": "4000",
        "DICOM_NODE__NODE__AE_TITLE": "OTHER",
        "DICOM_NODE__WORKER__DEVICES": '["cuda:0", "cuda:1"]',
        "DICOM_NODE__COMPLETION__QUIET_SECONDS": "2.5",
        "UNRELATED": "x",
    }
    settings = _load(tmp_path, WHOLE, environment).settings
    assert (settings.node.port, settings.node.ae_title) == (4000, "OTHER")
    assert settings.worker.devices == ("cuda:0", "cuda:1")
    assert settings.completion.quiet_seconds == 2.5


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DICOM_NODE__PORT", "1", "must be DICOM_NODE__SECTION__KEY"),
        ("DICOM_NODE__NODE__PORT__X", "1", "must be DICOM_NODE__SECTION__KEY"),
        ("DICOM_NODE__NODE__PROT", "1", "unknown key 'prot'"),
        ("DICOM_NODE__NODE__PORT", "high", "valid integer, not 'high'"),
        ("DICOM_NODE__PEERS__NAME", "x", "can only be set in the file"),
    ],
)
def test_a_wrong_variable_is_refused(tmp_path: Path, variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, WHOLE, {variable: value})
    assert message in caught.value.message


def _plain_defaults() -> dict[str, dict[str, Any]]:
    return {
        section: values for section, values in Settings().model_dump(mode="json").items() if isinstance(values, dict)
    }


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


_KEYS = [
    (section, key)
    for section, values in _plain_defaults().items()
    for key, value in values.items()
    if value is not None
]


@given(chosen=st.sets(st.sampled_from(_KEYS)))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_any_part_of_the_defaults_written_out_changes_nothing(tmp_path: Path, chosen: set[tuple[str, str]]) -> None:
    defaults = _plain_defaults()
    lines = []
    for section in sorted({section for section, _ in chosen}):
        lines.append(f"[{section}]")
        lines += [f"{key} = {_toml(defaults[section][key])}" for part, key in sorted(chosen) if part == section]
    assert _load(tmp_path, "\n".join(lines)).settings == _load(tmp_path, "").settings


@given(key=st.sampled_from(_KEYS), blank=st.integers(0, 5))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_a_value_of_a_wrong_type_is_told_with_its_line(tmp_path: Path, key: tuple[str, str], blank: int) -> None:
    text = "\n" * blank + f"[{key[0]}]\n# a comment\n{key[1]} = 1979-05-27\n"
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, text)
    assert (caught.value.line, caught.value.key) == (blank + 3, f"{key[0]}.{key[1]}")


@pytest.mark.parametrize("missing", ["database", "broker"])
def test_a_name_among_nodes_needs_what_nodes_share(tmp_path: Path, missing: str) -> None:
    shared = {"database": "postgresql+psycopg://node@db/ledger", "broker": "redis://queue/0"}
    sections = "".join(f'[{name}]\nurl = "{url}"\n' for name, url in shared.items() if name != missing)
    with pytest.raises(ConfigurationError, match=r"dicom-node.toml:2: node.name: is for several nodes"):
        _load(tmp_path, f'[node]\nname = "left"\n{sections}')
    sections = "".join(f'[{name}]\nurl = "{url}"\n' for name, url in shared.items())
    assert _load(tmp_path, f'[node]\nname = "left"\n{sections}').settings.node.name == "left"
    with pytest.raises(ConfigurationError, match=r"node\.name"):
        _load(tmp_path, f'[node]\nname = "Left Node"\n{sections}')
