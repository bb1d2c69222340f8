"""Downloads, the whole way, from a server on the loopback address."""

import hashlib
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tinyvit.data.download import RemoteFile, download
from tinyvit.errors import InputError
from tinyvit.files import cache_folder

CONTENT = np.random.default_rng(0).bytes(1_000_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path, in the way that ``behaviour`` says, and writes down what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = "ranges"
        self.asked: list[str | None] = []

    def url(self, name: str = "data.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        behaviour = self.server.behaviour
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if behaviour == "missing":
            return self.send_error(404)
        if behaviour == "416" and asked:
            return self.send_error(416)
        if behaviour == "no ranges" or not asked:
            start = 0
        body = CONTENT[start:]
        if behaviour == "altered":
            body = bytes(len(body))
        if behaviour == "too long":
            body = CONTENT + b"more"
        self.send_response(206 if start else 200)
        if start:
            first = start - 1 if behaviour == "wrong range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if behaviour != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour == "breaks":
            body = body[: len(body) // 2]
        if behaviour == "endless":
            body = body * 3
        try:
            self.wfile.write(body)
        except OSError:
            pass  # the client had enough

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(*urls: str) -> RemoteFile:
    return RemoteFile("data.bin", urls, len(CONTENT), hashlib.md5(CONTENT).hexdigest())


def refusal(file: RemoteFile, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        download(file, folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_full_download_shows_its_progress(server, tmp_path, capsys):
    path = download(remote(server.url()), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "data.bin"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["data.bin"]
    shown = capsys.readouterr().err
    assert "data.bin: " in shown and "/1.00M" in shown


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    download(remote(server.url()), tmp_path)
    download(remote(server.url()), tmp_path)
    assert len(server.asked) == 1


def test_a_broken_connection_is_resumed_by_the_next_call(server, tmp_path):
    server.behaviour = "breaks"
    message = refusal(remote(server.url()), tmp_path)
    assert "stopped at 500,000 of 1,000,000 bytes" in message and server.url() in message
    assert "run again to continue where it stopped" in message and str(tmp_path / "data.bin") in message
    assert (tmp_path / "data.bin.part").read_bytes() == CONTENT[:500_000] and not (tmp_path / "data.bin").exists()
    server.behaviour = "ranges"
    assert download(remote(server.url()), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=500000-"]
    assert not (tmp_path / "data.bin.part").exists()


@pytest.mark.parametrize("behaviour", ["no ranges", "416", "wrong range"])
def test_where_the_server_cannot_resume_the_download_starts_again(server, tmp_path, behaviour):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1234])
    server.behaviour = behaviour
    assert download(remote(server.url()), tmp_path).read_bytes() == CONTENT
    assert server.asked[0] == "bytes=1234-"


def test_a_second_address_takes_over_where_the_first_broke(server, tmp_path):
    closed = "http://127.0.0.1:9/data.bin"  # the discard port: nothing listens there
    assert download(remote(closed, server.url()), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    server.behaviour = "altered"
    message = refusal(remote(server.url()), tmp_path)
    assert "MD5" in message and "deleted" in message and hashlib.md5(CONTENT).hexdigest() in message
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_beginning_is_found_by_the_checksum_after_resuming(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1234)
    assert "deleted" in refusal(remote(server.url()), tmp_path)
    assert download(remote(server.url()), tmp_path).read_bytes() == CONTENT


def test_a_file_of_another_size_is_not_fetched(server, tmp_path):
    server.behaviour = "too long"
    assert "it offers 1,000,004 bytes, expected 1,000,000" in refusal(remote(server.url()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_read_than_the_file_should_hold(server, tmp_path):
    server.behaviour = "endless"  # three times the content, its length not said
    assert download(remote(server.url()), tmp_path).read_bytes() == CONTENT


def test_a_missing_file_names_the_address_and_the_place_to_put_it(server, tmp_path):
    server.behaviour = "missing"
    message = refusal(remote(server.url()), tmp_path)
    assert f"{server.url()} (HTTP status 404)" in message
    assert f"or put the file at {tmp_path / 'data.bin'}" in message


def test_a_refused_connection_names_the_address_and_the_place_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/data.bin"
        message = refusal(remote(url), tmp_path)
    assert url in message and "refused" in message
    assert f"or put the file at {tmp_path / 'data.bin'}" in message


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = refusal(remote(server.url()), tmp_path / "file" / "cache")
    assert "cannot write" in message and "set TINYVIT_CACHE" in message


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYVIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TINYVIT_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/tinyvit")
