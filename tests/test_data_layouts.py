"""Official files in the folders in which their hosts serve them, and text files as other systems rewrite them."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_celeba
import tiny_mnist
from tiny_binarized_mnist import amat, assert_holds, put_tiny_in_place, sha256, write_files
from tiny_pictures import use_tmp_path_only

from vnca_jax import data
from vnca_jax.data import celeba, fashion_mnist, mnist
from vnca_jax.errors import InputError


@pytest.fixture(scope="module")
def jpegs() -> list[bytes]:
    return tiny_celeba.make_jpegs()


# CelebA


@pytest.mark.parametrize("given", ["", "CelebA"])
@pytest.mark.parametrize("layout", ["zip", "folder"])
def test_images_and_partition_in_folders_of_their_own(jpegs, tmp_path, monkeypatch, layout, given):
    use_tmp_path_only(tmp_path, monkeypatch)
    folder = tiny_celeba.write(tmp_path / "given" / "CelebA" / "Img", jpegs, layout)
    (folder.parent / "Eval").mkdir()
    shutil.move(folder / "list_eval_partition.txt", folder.parent / "Eval")
    tiny_celeba.assert_holds(data.load("celeba", data_dir=tmp_path / "given" / given), jpegs)


TEXTS = {
    "p.txt": ["1.jpg 2\n2.jpg 1\n3.jpg 0\n", '"1.jpg" 2\n"2.jpg" "1"\n"3.jpg" 0\n', "1.jpg\t2\n2.jpg  1 \n3.jpg 0\n\n"],
    "p.csv": [
        "image_id,partition\n1.jpg,2\n2.jpg,1\n3.jpg,0\n",
        '"image_id","partition"\n"1.jpg",2\n"2.jpg","1"\n"3.jpg",0\n',
        "image_id, partition\n1.jpg, 2\n2.jpg, 1\n3.jpg, 0\n",
    ],
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("variant", range(3))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_partition_file_as_people_have_it(tmp_path, monkeypatch, name, variant, encoding, newline):
    use_tmp_path_only(tmp_path, monkeypatch)
    path = tmp_path / "images" / f"list_eval_partition{Path(name).suffix}"
    images = tmp_path / "images" / "img_align_celeba"
    images.mkdir(parents=True)
    for i in (1, 2, 3):
        (images / f"{i}.jpg").touch()
    path.write_bytes(TEXTS[name][variant].replace("\n", newline).encode(encoding))
    source = celeba.FileSource(path, images)
    assert (source.names, source.num_train, source.num_test) == (["3.jpg", "2.jpg", "1.jpg"], 2, 1)


# MNIST


@pytest.mark.parametrize("given", ["", "MNIST", "MNIST/raw"])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_folders_of_torchvision(tmp_path, monkeypatch, given, zipped):
    put_tiny_in_place(tmp_path, monkeypatch)
    sizes = {"train": 4, "test": 3}
    splits, clothes = tiny_mnist.make_splits(0, sizes), tiny_mnist.make_splits(1, sizes)
    tiny_mnist.put_in_place(monkeypatch, mnist, "MNIST", splits)
    tiny_mnist.put_in_place(monkeypatch, fashion_mnist, "FASHION_MNIST", clothes)
    tiny_mnist.write(tmp_path / "given/MNIST/raw", splits, zipped=zipped)
    tiny_mnist.write(tmp_path / "given/FashionMNIST/raw", clothes, zipped=zipped)
    tiny_mnist.assert_same(mnist.read("test", data_dir=tmp_path / "given" / given), splits["test"])
    given = given.replace("MNIST", "FashionMNIST")
    dataset = data.load("fashion_mnist_grey", data_dir=tmp_path / "given" / given, download=False)
    assert np.array_equal(dataset.test[..., 0], clothes["test"].images)


# Binarized MNIST


def test_a_zipped_file_that_was_unzipped_and_kept_its_name(tmp_path, monkeypatch):
    tiny = put_tiny_in_place(tmp_path, monkeypatch)
    folder = write_files(tmp_path / "given", tiny, zipped=True)
    path = folder / "binarized_mnist_train.amat.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    plain = folder / "binarized_mnist_valid.amat"
    shutil.move(f"{plain}.gz", plain)  # and one that is zipped and does not say so
    assert_holds(data.load("binarized_mnist", data_dir=folder), tiny)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_that_end_as_on_windows(tmp_path, monkeypatch, mark):
    tiny = put_tiny_in_place(tmp_path, monkeypatch)
    folder = write_files(tmp_path / "given", tiny)
    for path in folder.iterdir():
        path.write_bytes(mark + path.read_bytes().replace(b"\n", b"\r\n"))
    assert_holds(data.load("binarized_mnist", data_dir=folder), tiny)
    changed = amat(tiny["test"]).replace(b"0 1", b"1 1", 1)
    (folder / "binarized_mnist_test.amat").write_bytes(changed.replace(b"\n", b"\r\n"))
    with pytest.raises(InputError, match=f"_test.amat is not the official file .*SHA-256 {sha256(changed)}"):
        data.load("binarized_mnist", data_dir=folder, cache_dir=tmp_path / "elsewhere")
