"""Folders of pictures as people have them: what cannot be read, which files are taken, what is said of the others."""

import os
import struct
import zlib
from pathlib import Path

import modes
import numpy as np
import pytest
from PIL import Image
from tiny_pictures import encoded, folder_of, png, smooth, write

from vnca_jax import data
from vnca_jax.data import folder
from vnca_jax.errors import InputError

pytestmark = pytest.mark.usefixtures("only_here")


@pytest.fixture
def pictures(tmp_path) -> Path:
    return folder_of(12, 8, tmp_path / "cats")


def refused(path: Path, size: int = 4) -> str:
    with pytest.raises(InputError) as error:
        data.load("folder", size=size, data_dir=path)
    return str(error.value)


def images_of(path: Path) -> list:
    dataset = data.load("folder", size=8, data_dir=path)
    return sorted(np.concatenate([dataset.train, dataset.test]).tolist())


# What cannot be read


def refused_alone(content: bytes, pictures: Path, name: str = "odd.png") -> str:
    path = write(pictures / name, content)
    said = refused(pictures)
    assert said.startswith(f"{path} cannot be read as a picture (") and said.endswith("): replace or remove it.")
    return said.removeprefix(f"{path} cannot be read as a picture (").removesuffix("): replace or remove it.")


def test_why(pictures):
    whole = png(smooth(0, 8, 8, 3))
    assert refused_alone(b"", pictures) == "it is empty"
    unknown = "it is no picture of a known kind, or its beginning is damaged"
    assert refused_alone(b"no picture", pictures) == unknown == refused_alone(b"GIF89a", pictures)
    assert "BytesIO" not in refused_alone(whole[: len(whole) // 2], pictures)
    floats = encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    assert refused_alone(floats, pictures, "odd.png") == "its pixels have 32 bits, and not 8 or 16"
    (pictures / "odd.png").unlink()
    data.load("folder", size=4, data_dir=pictures)


def test_one_that_is_too_large(pictures):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    assert refused_alone(content, pictures) == "it has more than 178,956,970 pixels; scale it down"


def test_a_pipe(pictures):
    os.mkfifo(pictures / "a" / "pipe.png")
    assert refused(pictures) == (
        f"{pictures / 'a' / 'pipe.png'} is a pipe or a device and no file: replace or remove it."
    )


def test_all_are_named_at_once_and_nothing_is_lost(pictures, tmp_path, monkeypatch):
    whole = images_of(pictures)
    bad = [write(pictures / f"bad {i:02}.png", f"no picture {i}".encode()) for i in range(12)]
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    said = refused(pictures, 8).splitlines()
    assert said[0] == "12 of the 24 images of folder:cats cannot be used; the first 10 of them:"
    why = "cannot be read as a picture (it is no picture of a known kind, or its beginning is damaged)"
    assert said[1:] == [f"  {path} {why}: replace or remove it." for path in bad[:10]]
    left = [path.suffix for path in (tmp_path / "cache").iterdir()]
    assert left == [".aside"]  # twelve finished images, and no part of a dataset
    original, read = folder.rescaled, []

    def counting(path, size, *, binary=False):
        read.append(path.name)
        return original(path, size, binary=binary)

    monkeypatch.setattr(folder, "rescaled", counting)
    for path in bad[1:]:
        path.unlink()
    assert refused(pictures, 8) == f"{bad[0]} {why}: replace or remove it." and read == ["bad 00.png"]
    bad[0].write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    read.clear()
    assert images_of(pictures) == sorted([*whole, np.zeros((8, 8, 3)).tolist()]) and read == ["bad 00.png"]
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]
    read.clear()
    data.load("folder", size=4, data_dir=pictures)
    assert len(read) == 13  # of another size nothing had been set aside


def test_what_was_set_aside_and_is_damaged(pictures, tmp_path):
    whole = images_of(pictures)
    bad = write(pictures / "bad.png", b"")
    refused(pictures, 8)
    [aside] = (tmp_path / "cache").glob(".*.aside")
    aside.write_bytes(aside.read_bytes()[:-1])
    bad.unlink()
    assert images_of(pictures) == whole


# Which files are taken


def test_closed_folders_are_named(pictures):
    (pictures / "b" / "deep").mkdir()
    with modes.closed(pictures / "b" / "deep"), modes.closed(pictures / "c"):
        assert refused(pictures) == (
            f"Not all of {pictures} can be read, because of {pictures}/b/deep (Permission denied), {pictures}/c "
            "(Permission denied): allow it, or move that away."
        )
    path = pictures / "a" / "picture 0.png"
    with modes.closed(path):
        assert refused(pictures) == f"{path} cannot be read (Permission denied): allow it, or name another folder."


def test_thumbnails_of_network_drives(pictures):
    before = images_of(pictures)
    for name in ("@eaDir/picture 0.png/SYNOPHOTO_THUMB_M.png", "#recycle/old.png", "__MACOSX/x.png"):
        write(pictures / "a" / name, png(smooth(40, 8, 8, 3)))
    assert images_of(pictures) == before


def test_what_was_left_out_for_its_suffix_is_said(pictures, capsys):
    for name in ("a.HEIC", "b.heic", "b/notes.txt", "b/README"):
        write(pictures / name, b"")
    images_of(pictures)
    assert capsys.readouterr().err.endswith(
        "folder:cats: 4 other files (.heic, .txt, no suffix) left out, since no picture has such a suffix.\n"
    )


def sides(path: Path, capsys) -> tuple[list[str], list[str], str]:
    """The pictures that are for training and for testing, by the level of their grey, and what was said of them."""
    dataset = data.load("folder", size=4, data_dir=path)
    said = capsys.readouterr().err.splitlines()
    train, test = (sorted(images[:, 0, 0, 0].tolist()) for images in (dataset.train, dataset.test))
    return train, test, said[-1]


@pytest.mark.parametrize(
    ("folders", "train", "test", "said"),
    [
        ("Train TEST", [0, 1, 2], [3, 4, 5], "training pictures are those in Train, test pictures those in TEST."),
        ("train val", [0, 1, 2], [3, 4, 5], "training pictures are those in train, test pictures those in val."),
        ("Testing training", [3, 4, 5], [0, 1, 2], "training pictures are those in training, test pictures those in "
         "Testing."),
        ("train val test", [0, 1, 2, 3, 4, 5], [6, 7, 8], "training pictures are those in train and val, test pictures "
         "those in test."),
        ("train test .", [0, 1, 2], [3, 4, 5], "training pictures are those in train, test pictures those in test; "
         "3 beside these folders are left out."),
        ("train test more", [0, 1, 2], [3, 4, 5], "training pictures are those in train, test pictures those in test; "
         "3 beside these folders are left out."),
        ("train test", [0, 1, 2], [3, 4, 5], "6 pictures, 3 of them test pictures."),
    ],
)  # fmt: skip
def test_sub_folders_that_split(tmp_path, capsys, folders, train, test, said):
    for i, name in enumerate(folders.split()):
        for level in range(3 * i, 3 * i + 3):
            write(tmp_path / "own" / name / f"{level}.png", png(np.full((4, 4), level, np.uint8)))
    assert sides(tmp_path / "own", capsys) == (train, test, f"folder:own: {said}")


def test_a_name_that_is_not_utf_8(pictures, capsys):
    path = Path(os.fsdecode(os.fsencode(pictures.parent) + b"/caf\xe9"))
    pictures.rename(path)
    (path / os.fsdecode(b"\xff.png")).write_bytes(png(smooth(50, 8, 8, 3)))
    dataset = data.load("folder", size=4, data_dir=path)
    assert dataset.name == "folder:caf\\xe9" and len(dataset.train) + len(dataset.test) == 13
    assert "folder:caf\\xe9: 13 pictures" in capsys.readouterr().err
