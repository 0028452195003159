"""CelebA from small files in its layouts, and what is refused."""

from pathlib import Path

import fake_tfds
import numpy as np
import pytest
from tiny_celeba import ORDER, PARTITIONS, assert_holds, write
from tiny_pictures import decoded, jpeg, resized, smooth

from vnca_jax import data
from vnca_jax.data import celeba
from vnca_jax.errors import InputError

pytestmark = pytest.mark.usefixtures("only_here", "small_blocks")


@pytest.mark.parametrize(
    ("layout", "folder", "size"),
    [
        ("folder", "given", 64),
        ("zip", "given/celeba", 32),
        ("kaggle", "kaggle/celeba-dataset", 32),
        ("folder", "named", 32),
    ],
)
def test_layouts(jpegs, tmp_path, monkeypatch, capsys, layout, folder, size):
    write(tmp_path / folder, jpegs, layout)
    (tmp_path / "named").mkdir(exist_ok=True)
    monkeypatch.setenv("VNCA_DATA_DIR", str(tmp_path / "named"))
    data_dir = tmp_path / "given" if folder.startswith("given") else None
    dataset = data.load("celeba", size=None if size == 64 else size, data_dir=data_dir)
    assert_holds(dataset, jpegs, size)
    assert f"celeba {size}x{size}: 100%" in capsys.readouterr().err
    monkeypatch.setattr(celeba, "rescaled", None)  # from here on only the cache can answer
    again = data.load("celeba", size=size, data_dir=data_dir)
    assert_holds(again, jpegs, size)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]
    assert again.padded(size) is again
    assert again.some_test_images(2).tolist() == [again.test[0].tolist(), again.test[2].tolist()]


def test_grey_images_are_coloured(jpegs, tmp_path):
    grey = jpeg(smooth(99, 218, 178, 1)[..., 0])
    dataset = data.load("celeba", data_dir=write(tmp_path / "given", [grey, *jpegs[1:]]))
    assert dataset.train[0].tolist() == resized(np.repeat(decoded(grey)[20:198, :, None], 3, axis=2), 64).tolist()


# What is refused


def test_broken_images(jpegs, tmp_path):
    for layout, folder in (("folder", tmp_path / "a"), ("zip", tmp_path / "b")):
        write(folder, [*jpegs[:6], jpegs[6][: len(jpegs[6]) // 2], *jpegs[7:]], layout)
        with pytest.raises(InputError, match=r"/img_align_celeba(.zip)?/000007.jpg cannot be read \(.*\): replace it"):
            data.load("celeba", data_dir=folder)
    folder = write(tmp_path / "c", [*jpegs[:-1], jpeg(smooth(0, 64, 60, 3))])
    with pytest.raises(InputError) as error:
        data.load("celeba", data_dir=folder)
    path = folder / "img_align_celeba/000020.jpg"
    assert str(error.value) == f"{path} has 60x64 pixels, but an aligned image of celeba has 178x218: replace it."
    (tmp_path / "b/img_align_celeba.zip").write_bytes(b"PK torn")
    with pytest.raises(InputError, match=r"img_align_celeba.zip cannot be read \(.*\): download it again.$"):
        data.load("celeba", data_dir=tmp_path / "b")


def test_missing_images(jpegs, tmp_path):
    folder = write(tmp_path / "given", jpegs)
    (folder / "img_align_celeba/000003.jpg").unlink()
    (folder / "img_align_celeba/000009.jpg").unlink()
    with pytest.raises(InputError) as error:
        data.load("celeba", data_dir=folder)
    assert str(error.value) == (
        f"{folder}/img_align_celeba lacks 2 of the 20 images that {folder}/list_eval_partition.txt names, the first of "
        "them 000003.jpg: unpack or download it again."
    )


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("p.txt", "1.jpg 0\n2.jpg 3\n", "Line 2 of p.txt, '2.jpg 3', is not a name of its own and 0, 1 or 2"),
        ("p.txt", "1.jpg 0\n\n1.jpg 1\n", "Line 3 of p.txt, '1.jpg 1', is not"),
        ("p.txt", "1.jpg 0 1\n", "Line 1 of p.txt, '1.jpg 0 1', is not"),
        ("p.txt", "1.jpg\n", "Line 1 of p.txt, '1.jpg', is not"),
        ("p.txt", "../1.jpg 0\n", "Line 1 of p.txt, '../1.jpg 0', is not"),
        ("p.txt", "1.jpg 0\n2.jpg 2\n", "p.txt has no image of partition 1: replace"),
        ("p.txt", "", "p.txt has no image of partition 0, 1, 2: replace"),
        ("p.csv", "1.jpg,0\n", "Line 1 of p.csv is not 'image_id,partition': replace"),
        ("p.csv", "image_id,partition\n1.jpg 0\n", "Line 2 of p.csv, '1.jpg 0', is not"),
    ],
)
def test_parse_partition_refuses(name, text, line):
    with pytest.raises(InputError) as error:
        celeba.parse_partition(text, Path(name))
    assert str(error.value).startswith(line) and str(error.value).endswith("replace it by the official file.")


def test_parse_partition():
    text = "1.jpg 2 \r\n2.jpg 1\r\n3.jpg 0\r\n4.jpg 0"
    assert celeba.parse_partition(text, Path("p.txt")) == (["3.jpg", "4.jpg", "2.jpg", "1.jpg"], 3)


def test_nothing_there(jpegs, tmp_path):
    what = (
        "put img_align_celeba.zip, or its images as img_align_celeba/*.jpg, and list_eval_partition.txt (or .csv) into "
        "one folder, or into its sub-folder celeba, and name it with --data-dir or $VNCA_DATA_DIR, or attach them as a "
        "dataset under /kaggle/input."
    )
    with pytest.raises(InputError) as error:
        data.load("celeba")
    assert str(error.value) == f"celeba was not found: {what}"
    folder = write(tmp_path / "given", jpegs)
    (folder / "list_eval_partition.txt").unlink()
    with pytest.raises(InputError) as error:
        data.load("celeba", data_dir=folder)
    assert str(error.value) == f"The data folder {folder} does not hold the images of celeba: {what}"


def test_prepared_tfds_copy(jpegs, monkeypatch):
    pixels = [decoded(content) for content in jpegs]
    splits = {
        name: [{"image": pixels[i]} for i in ORDER if PARTITIONS[i] == partition]
        for partition, name in enumerate(("train", "validation", "test"))
    }
    fake_tfds.install(monkeypatch, "celeb_a", splits)
    assert_holds(data.load("celeba", size=32), jpegs, 32)
    splits["validation"][1] = {"image": np.array("no pixels")}
    with pytest.raises(InputError, match=r"^Image 1 of the split validation in /prepared cannot be read \("):
        data.load("celeba")
