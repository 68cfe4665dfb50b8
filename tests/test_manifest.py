"""The manifest: what it accepts, and row 45 of the fault table."""

import pytest

from artist_features.errors import ManifestError
from artist_features.training.manifest import read_manifest

MANIFESTS = (
    ("bom-crlf-blank", "\ufefffile,artist,title\r\n\r\na.mp3,A,T\r\n , ,\r\n", None, None),
    ("quoted", 'file,artist,title,year\n"a,b.mp3",,"x\ny",1999\n', None, None),
    ("no-column", "file,title\na.mp3,T\n", 1, r"column 'artist' is missing"),
    ("empty", "", 1, r"column 'file' is missing"),
    ("upwards", "file,artist,title\na.mp3,A,T\n../../x.mp3,A,T\n", 3, r"leads out of"),
    ("hidden-upwards", "file,artist,title\nsub/../../x.mp3,A,T\n", 2, r"leads out of"),
    ("absolute", "file,artist,title\n/etc/passwd,A,T\n", 2, r"leads out of"),
    ("no-name", "file,artist,title\n,A,T\n", 2, r"a relative path is needed"),
    ("zero-byte", "file,artist,title\na\0.mp3,A,T\n", 2, r"a relative path|line contains NUL"),
    ("the-folder", "file,artist,title\n./,A,T\n", 2, r"a relative path is needed"),
    ("missing-field", "file,artist,title\na.mp3,A\n", 2, r"2 fields, the header has 3"),
    ("extra-field", "file,artist,title\na.mp3,A,B,C\n", 2, r"4 fields, the header has 3"),
    ("twice", "file,artist,title\na.mp3,A,T\n\n./a.mp3,A,T\n", 4, r"already on line 2"),
    ("open-quote", 'file,artist,title\n"a.mp3,A,T\n', 2, r"not valid CSV \(unexpected end"),
    ("huge-field", f"file,artist,title\n{'x' * 140_000},A,T\n", 2, r"not valid CSV \(field larger"),
    ("column-twice", "file,artist,title,file\na.mp3,A,T,b.mp3\n", 1, r"twice"),
)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: f"row45-{manifest[0]}")
def test_row45_manifest(manifest, tmp_path):
    _, text, line, message = manifest
    path = tmp_path / "manifest.csv"
    path.write_bytes(text.encode())
    if line is None:
        (track,) = read_manifest(path)
        assert track.path.parent == tmp_path
        return
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path} line {line}: ")


def test_row45_manifest_in_another_encoding(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(b"file,artist,title\na.mp3,Beyonc\xe9,T\n")
    with pytest.raises(ManifestError, match=r"line 2: byte 0xe9 is not UTF-8"):
        read_manifest(path)
    with pytest.raises(ManifestError, match=r"gone\.csv: cannot be read \(No such file"):
        read_manifest(tmp_path / "gone.csv")
    with pytest.raises(ManifestError, match=r"cannot be read \(Is a directory"):
        read_manifest(tmp_path)
