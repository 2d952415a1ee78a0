"""A download goes on where it broke off, is checked, and is in place whole or not at all."""

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tabnas.data.criteo import download, load
from tabnas.data.criteo.download import fetch
from tabnas.errors import UserError
from tests.data.criteo.form import text


class Server(ThreadingHTTPServer):
    """Serves `content`, but breaks off after each of `breaks` bytes in turn. `ranges`: what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.breaks, self.ranges = os.urandom(3_000_000), '"1"', [], []
        self.knows_ranges, self.status = True, 200
        self.url = f"http://127.0.0.1:{self.server_port}/train.txt"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.ranges.append(asked)
        start = 0
        if server.status != 200:
            self.send_error(server.status)
            return
        if asked and server.knows_ranges and self.headers.get("If-Range") == server.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start:][: server.breaks.pop(0) if server.breaks else None])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def checksum(content):
    return hashlib.sha256(content).hexdigest()


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_brings_the_file_and_tells_how_far_it_is(server, tmp_path):
    told = []
    path = tmp_path / "new" / "train.txt"
    fetch(server.url, path, checksum(server.content).upper(), lambda *what: told.append(what))
    assert path.read_bytes() == server.content
    assert files(path.parent) == ["train.txt"]
    assert told[-1] == ("downloading", 3_000_000, 3_000_000)
    assert len(told) > 2


def test_goes_on_where_it_broke_off(server, tmp_path):
    server.breaks = [1_000_000, 500_000, 0]
    fetch(server.url, tmp_path / "train.txt", checksum(server.content), None)
    assert server.ranges == [None, "bytes=1000000-", "bytes=1500000-", "bytes=1500000-"]
    assert (tmp_path / "train.txt").read_bytes() == server.content


def test_a_later_call_goes_on(server, tmp_path):
    server.breaks = [1_000_000, *[0] * 5]
    with pytest.raises(UserError, match=r"^dataset\.url: .*broke off"):
        fetch(server.url, tmp_path / "train.txt", None, None)
    assert not (tmp_path / "train.txt").exists()
    server.ranges.clear()
    fetch(server.url, tmp_path / "train.txt", None, None)
    assert server.ranges == ["bytes=1000000-"]
    assert (tmp_path / "train.txt").read_bytes() == server.content


def test_two_versions_are_not_joined(server, tmp_path):
    server.breaks = [1_000_000, *[0] * 5]
    with pytest.raises(UserError):
        fetch(server.url, tmp_path / "train.txt", None, None)
    server.content, server.etag = os.urandom(2_000_000), '"2"'
    fetch(server.url, tmp_path / "train.txt", None, None)
    assert (tmp_path / "train.txt").read_bytes() == server.content


def test_a_server_without_ranges_is_asked_for_the_whole(server, tmp_path):
    server.knows_ranges, server.breaks = False, [1_000_000]
    fetch(server.url, tmp_path / "train.txt", checksum(server.content), None)
    assert (tmp_path / "train.txt").read_bytes() == server.content


def test_all_that_is_missing_may_be_the_renaming(server, tmp_path):
    (tmp_path / ".train.txt.part").write_bytes(server.content)
    (tmp_path / ".train.txt.part.json").write_text('"\\"1\\""')
    fetch(server.url, tmp_path / "train.txt", checksum(server.content), None)
    assert server.ranges == ["bytes=3000000-"]
    assert (tmp_path / "train.txt").read_bytes() == server.content


def test_a_wrong_checksum_is_told_and_the_file_is_not_kept(server, tmp_path):
    wanted = checksum(b"something else")
    with pytest.raises(UserError, match=rf"^dataset\.sha256: .*{checksum(server.content)}, got '{wanted}'"):
        fetch(server.url, tmp_path / "train.txt", wanted, None)
    assert files(tmp_path) == []


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 5)])
def test_a_refusal_is_told(server, tmp_path, status, requests):
    server.status = status
    with pytest.raises(UserError, match=rf"^dataset\.url: .*{status}"):
        fetch(server.url, tmp_path / "train.txt", None, None)
    assert len(server.ranges) == requests


def test_nobody_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)
    with pytest.raises(UserError, match=r"^dataset\.url: "):
        fetch("http://127.0.0.1:9/train.txt", tmp_path / "train.txt", None, None)


@pytest.mark.parametrize(
    ("name", "arguments"), [("url", ("ftp://x/y", None)), ("url", ("train.txt", None)), ("sha256", ("http://x", "0f"))]
)
def test_addresses_and_checksums_are_checked_first(tmp_path, name, arguments):
    with pytest.raises(UserError, match=rf"^dataset\.{name}: "):
        fetch(arguments[0], tmp_path / "train.txt", arguments[1], None)


def test_loading_downloads_only_what_is_missing(server, tmp_path):
    server.content = text(1000)
    arguments = {"path": tmp_path / "data" / "train.txt", "cache": tmp_path / "cache"}
    with pytest.raises(UserError, match=r"^dataset\.path: "):
        load(**arguments)
    assert not server.ranges
    for _ in range(2):
        table = load(url=server.url, **arguments)
        assert table.train.n_rows + table.valid.n_rows == 1000
    assert len(server.ranges) == 1
