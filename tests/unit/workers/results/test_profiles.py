import numpy as np
from result_cases import blobs, contract, findings_on, series

from dicom_node.domain.finding import Findings
from dicom_node.domain.output import Encoding
from dicom_node.domain.profile import Profile
from dicom_node.settings import NodeSettings, PeerSettings, Settings
from workers.results import profiles
from workers.results.profiles import Choice, possible

B, L, F = Profile.BINARY, Profile.LABELMAP, Profile.FRACTIONAL


def choose(findings: Findings, destinations: tuple[str, ...], given: Settings, asked: Encoding | None = None) -> Choice:
    return profiles.choose(findings, contract(encoding=asked), destinations, given)


def settings(**taken: tuple[str, ...]) -> Settings:
    peers = tuple(
        PeerSettings(name=name, ae_title=name.upper(), host="127.0.0.1", port=104, results=results)
        for name, results in taken.items()
    )
    return Settings(node=NodeSettings(), peers=peers)


def overlapping() -> tuple[np.ndarray, np.ndarray]:
    low = blobs((4, 10, 12))
    return low % 2, np.where(low > 0, 2, 0).astype(np.uint8)


def test_a_label_map_has_no_place_for_segments_that_overlap() -> None:
    assert possible(findings_on(series())) == (B, L)
    assert possible(findings_on(series(), layers=overlapping())) == (B,)


def test_most_destinations_get_theirs_at_once() -> None:
    given = settings(old=("binary",), new=("labelmap", "binary"), newer=("labelmap",))
    choice = choose(findings_on(series()), ("old", "new", "newer", "unknown"), given)
    assert choice.of == {"old": B, "new": L, "newer": L, "unknown": B}
    assert choose(findings_on(series()), ("new", "old", "newer"), given).profile is L
    assert choose(findings_on(series()), ("old", "unknown", "new"), given).profile is B


def test_a_destination_that_takes_nothing_of_what_can_be_told_is_named() -> None:
    given = settings(new=("labelmap", "binary"), newer=("labelmap",))
    choice = choose(findings_on(series(), layers=overlapping()), ("new", "newer"), given)
    assert (choice.profile, choice.of) == (B, {"new": B, "newer": ""})


def test_without_segments_every_profile_is_the_same() -> None:
    findings = findings_on(series(), layers=(), segments=(), evaluations=(), measurements=())
    assert choose(findings, ("newer",), settings(newer=("labelmap",))).of == {}


def test_what_a_destination_has_refused_lately_it_gets_only_where_nothing_else_is_left() -> None:
    given = settings(pacs=("labelmap", "binary"), new=("labelmap",))
    findings = findings_on(series())

    def told(**refused: set[Profile]) -> dict[str, str]:
        return dict(profiles.choose(findings, contract(), ("pacs", "new"), given, refused).of)

    assert told() == {"pacs": L, "new": L}
    assert told(pacs={L}, new={L}) == {"pacs": B, "new": L}
    assert told(pacs={L, B}) == {"pacs": L, "new": L}


def test_probabilities_are_encoded_at_once_and_binary_beside_them() -> None:
    kept = {number: np.full((4, 10, 12), 0.25, np.float32) for number in (1, 2)}
    findings = findings_on(series(), probabilities=kept)
    assert possible(findings) == (B, L, F)
    choice = choose(findings, ("old", "unknown"), settings(old=("binary",)), Encoding.FRACTIONAL)
    assert choice.of == {"old": B, "unknown": F}
    assert {choice.profile, *choice.beside} == {B, F}
    assert choice.manifest == {"possible": [B, L, F], "asked": F, "companions": ["summary", "key-images"]}
    last = choose(findings, ("old",), settings(old=("binary", "fractional")))
    assert (last.profile, last.beside, last.manifest["possible"]) == (B, (F,), [B, L, F]), "nobody else keeps them"
    nobody = choose(findings, ("old",), settings(old=("binary",)))
    assert (nobody.profile, nobody.beside, nobody.manifest["possible"]) == (B, (), [B, L])
