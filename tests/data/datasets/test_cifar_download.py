"""The archive of CIFAR: fetched, found, damaged or missing."""

import hashlib
import http.server
import tarfile
import threading
from dataclasses import replace
from functools import partial

import pytest
from gcdflow.data.datasets import cifar, cifar_files
from gcdflow.errors import InputError
from small_cifar import settings, write_cifar10


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_archives_are_those_of_torchvision(name):
    from torchvision import datasets

    official = getattr(datasets, name.upper())
    layout = cifar_files.LAYOUTS[name]
    assert layout.archive == official.filename
    assert layout.md5 == official.tgz_md5
    assert f"{cifar_files.BASE_URL}/{layout.archive}" == official.url
    assert layout.folder == official.base_folder
    assert layout.meta == official.meta["filename"]
    assert layout.names == official.meta["key"]
    assert layout.files["train"] == [file for file, _ in official.train_list]
    assert layout.files["test"] == [file for file, _ in official.test_list]


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve a small archive with the expected checksum; yield the requested paths."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    write_cifar10(tmp_path / "made")
    (tmp_path / "server").mkdir()
    archive = tmp_path / "server" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    directory = str(tmp_path / "server")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=directory)
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setattr(cifar_files, "BASE_URL", f"http://127.0.0.1:{server.server_port}")
        expect(monkeypatch, hashlib.md5(archive.read_bytes()).hexdigest())
        yield asked
        server.shutdown()
        thread.join()


def expect(monkeypatch, md5: str) -> None:
    layout = replace(cifar_files.LAYOUTS["cifar10"], md5=md5)
    monkeypatch.setitem(cifar_files.LAYOUTS, "cifar10", layout)


def test_download(tmp_path, served):
    root = tmp_path / "new" / "data"
    found = cifar.catalogue(settings(root, download=True))
    assert len(found.classes) == 110
    assert served == ["/cifar-10-python.tar.gz"]
    content = {path.name for path in root.iterdir()}
    assert content == {"cifar-10-batches-py", "cifar-10-python.tar.gz"}
    cifar.catalogue(settings(root, download=True))
    assert len(served) == 1


def test_parallel_runs_download_once(tmp_path, served):
    results = []
    run = partial(cifar.catalogue, settings(tmp_path / "data", download=True))
    threads = [threading.Thread(target=lambda: results.append(run())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found.classes) for found in results] == [110] * 4
    assert len(served) == 1


def test_an_archive_in_the_root_is_unpacked_without_a_download(tmp_path, served):
    root = tmp_path / "server"
    assert len(cifar.catalogue(settings(root, download=False)).classes) == 110
    assert not served


def test_wrong_checksum(tmp_path, served, monkeypatch):
    expect(monkeypatch, "0" * 32)
    root = tmp_path / "data"
    expected = (
        rf"no folder {root}/cifar-10-batches-py \(the file from http://.*/cifar-10-python\.tar\.gz "
        rf"has another MD5 checksum\); put cifar-10-python\.tar\.gz \(from .* MD5 0+\) in {root},"
    )
    with pytest.raises(InputError, match=expected):
        cifar.catalogue(settings(root, download=True))
    assert not list(root.iterdir())


def test_wrong_archive_in_the_root(tmp_path, served, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(b"half")
    expected = r"\(.*/cifar-10-python\.tar\.gz has another MD5 checksum, and dataset\.download is"
    with pytest.raises(InputError, match=expected):
        cifar.catalogue(settings(root, download=False))
    assert len(cifar.catalogue(settings(root, download=True)).classes) == 110


def test_failed_downloads(tmp_path, served, monkeypatch):
    (tmp_path / "server" / "cifar-10-python.tar.gz").unlink()
    hint = r"put cifar-10-python\.tar\.gz \(from .*\) in .*/data, where it will be unpacked"
    with pytest.raises(InputError, match=rf"cannot be downloaded: 404 .*; {hint}"):
        cifar.catalogue(settings(tmp_path / "data", download=True))
    monkeypatch.setattr(cifar_files, "BASE_URL", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=rf"cannot be downloaded: .*; {hint}") as error:
        cifar.catalogue(settings(tmp_path / "data", download=True))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").iterdir())


def test_no_download(tmp_path, served):
    root = tmp_path / "data"
    expected = (
        rf"dataset\.root: no folder {root}/cifar-10-batches-py \(dataset\.download is false\)"
    )
    with pytest.raises(InputError, match=rf"{expected}; put cifar-10-python\.tar\.gz \(from "):
        cifar.catalogue(settings(root, download=False))
    assert not served
    assert not root.exists()


@pytest.mark.parametrize("content", [b"no archive", "empty", "half"])
def test_bad_archives_leave_no_folder(tmp_path, served, monkeypatch, content):
    archive = tmp_path / "server" / "cifar-10-python.tar.gz"
    if content == "empty":
        with tarfile.open(archive, "w:gz"):
            pass
    elif content == "half":  # truncated after some complete files
        archive.write_bytes(archive.read_bytes()[:200_000])
    else:
        archive.write_bytes(content)
    expect(monkeypatch, hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(InputError, match=r"no folder .*/cifar-10-batches-py \(.+\); put "):
        cifar.catalogue(settings(tmp_path / "data", download=True))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-10-python.tar.gz"]


def test_read_only_root(tmp_path, served):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"no folder .* \(.*file.*\); put cifar-10-python"):
        cifar.catalogue(settings(tmp_path / "file" / "data", download=True))
