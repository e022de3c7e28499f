"""Downloads against a server of our own: nothing here needs a network."""

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import Heard
from ultragcn.data.download import fetch
from ultragcn.errors import DownloadError, UsageError

CONTENT = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A web server that can be told to misbehave; `requests` holds (path, Range header) of all it was asked."""

    def __init__(self):
        self.files = {"/file": CONTENT}
        self.knows_ranges = True
        self.cut_after = []  # for the next answers: bytes of the body after which the connection ends
        self.redirect = {}
        self.requests = []
        handler = type("Handler", (_Handler,), {"behaviour": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def url(self, path="/file"):
        return f"http://127.0.0.1:{self._http.server_port}{path}"

    def close(self):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    behaviour: Server

    def do_GET(self):
        server = self.behaviour
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        if self.path in server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect[self.path])
            self.end_headers()
            return
        body = server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.knows_ranges else 0
        if first and first >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        cut = server.cut_after.pop(0) if server.cut_after else len(body)
        self.wfile.write(body[first : first + cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "file.bin"


def part_of(path):
    return path.with_name(path.name + ".part")


def test_a_file_is_fetched_whole_with_progress_in_bytes_and_no_part_is_left(server, path):
    heard = Heard()
    assert fetch(server.url(), path, sha256=SHA256, size=len(CONTENT), progress=heard) == path
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [path.name]
    assert heard.told[0] == (path.name, len(CONTENT), "byte")
    assert heard.told[-1] == "finished"
    assert sum(heard.told[1:-1]) == len(CONTENT)


def test_without_a_checksum_what_comes_is_accepted(server, path):
    assert fetch(server.url(), path, sha256=None).read_bytes() == CONTENT


def test_a_file_that_is_there_and_right_is_not_fetched_again(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    fetch(server.url(), path, sha256=SHA256)
    assert server.requests == []


def test_an_old_file_is_replaced_only_by_a_whole_new_one(server, path):
    path.parent.mkdir()
    path.write_bytes(b"old")
    server.cut_after = [10, 10, 10]
    with pytest.raises(DownloadError):
        fetch(server.url(), path, sha256=SHA256)
    assert path.read_bytes() == b"old"
    fetch(server.url(), path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_part_left_by_an_interrupted_download_becomes_the_right_file(server, path, knows_ranges):
    server.knows_ranges = knows_ranges
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT[:100_000])
    heard = Heard()
    fetch(server.url(), path, sha256=SHA256, progress=heard)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/file", "bytes=100000-")]
    assert sum(told for told in heard.told if isinstance(told, int)) == len(CONTENT)


def test_a_connection_that_ends_too_early_is_taken_up_again_at_once(server, path):
    server.cut_after = [1000, 2000]
    fetch(server.url(), path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=1000-", "bytes=3000-"]


def test_a_connection_that_keeps_ending_leaves_its_part_and_the_next_call_goes_on_from_there(server, path):
    server.cut_after = [1000, 1000, 1000]
    with pytest.raises(DownloadError, match=r"ended after 3000 of \d+ bytes.*next try goes on from there"):
        fetch(server.url(), path, sha256=SHA256)
    assert part_of(path).read_bytes() == CONTENT[:3000]
    assert not path.exists()
    fetch(server.url(), path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == ("/file", "bytes=3000-")


def test_interrupting_leaves_a_part_that_the_next_call_continues(server, path):
    class Impatient(Heard):
        def advance(self, steps, figures=None):
            if steps:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.url(), path, sha256=SHA256, progress=Impatient())
    begun = part_of(path).stat().st_size
    assert 0 < begun < len(CONTENT)
    fetch(server.url(), path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == ("/file", f"bytes={begun}-")


def test_without_a_checksum_an_interrupted_download_starts_anew(server, path):
    path.parent.mkdir()
    part_of(path).write_bytes(b"of another file")
    server.cut_after = [1000]
    assert fetch(server.url(), path, sha256=None).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, None]


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", b"x" * 1000], ids=["whole", "too long", "of another version"])
def test_whatever_part_was_left_the_result_is_right(server, path, left):
    path.parent.mkdir()
    part_of(path).write_bytes(left)
    assert fetch(server.url(), path, sha256=SHA256).read_bytes() == CONTENT
    assert os.listdir(path.parent) == [path.name]


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server, path):
    with pytest.raises(DownloadError, match=r"file\.bin.*/file: it is another file or damaged"):
        fetch(server.url(), path, sha256="0" * 64)
    assert os.listdir(path.parent) == []
    assert len(server.requests) == 1


def test_a_server_that_announces_another_length_is_not_read(server, path):
    with pytest.raises(DownloadError, match=f"has {len(CONTENT)} bytes, not 17"):
        fetch(server.url(), path, sha256=None, size=17)
    assert os.listdir(path.parent) == []


def test_mirrors_are_tried_in_turn_until_one_has_the_right_file(server, path):
    server.files["/damaged"] = b"damaged"
    fetch([server.url("/missing"), server.url("/damaged"), server.url()], path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert [asked for asked, _ in server.requests] == ["/missing", "/damaged", "/file"]


def test_when_no_mirror_has_it_the_error_says_what_went_wrong_where_and_where_to_put_the_file(server, path):
    with pytest.raises(DownloadError) as caught:
        fetch([server.url("/a"), server.url("/b")], path, sha256=SHA256)
    message = str(caught.value)
    assert message.startswith("cannot download file.bin")
    assert f"{server.url('/a')}: the server answers 404" in message
    assert f"{server.url('/b')}: the server answers 404" in message
    assert message.endswith(f"put it at {path}")
    assert "\n" not in message


def test_a_server_that_is_not_there_is_one_sentence(server, path):
    url = server.url()
    server.close()
    with pytest.raises(DownloadError, match=rf"^cannot download file\.bin \({url}: no connection .*put it at [^\n]*file\.bin$"):
        fetch(url, path, sha256=SHA256, timeout=5)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/file", "/etc/hostname", ""])
def test_only_http_and_https_are_asked(url, path):
    with pytest.raises(UsageError, match="must begin with http"):
        fetch(url, path, sha256=None)
    assert not path.parent.exists()


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/file"])
def test_a_redirection_leads_to_no_other_protocol(server, path, target):
    server.redirect = {"/elsewhere": target}
    with pytest.raises(DownloadError):
        fetch(server.url("/elsewhere"), path, sha256=None)
    assert os.listdir(path.parent) == []


def test_a_redirection_to_the_file_is_followed_and_its_ranges_too(server, path):
    server.redirect = {"/elsewhere": "/file"}
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT[:100])
    assert fetch(server.url("/elsewhere"), path, sha256=SHA256).read_bytes() == CONTENT
    assert server.requests[-1] == ("/file", "bytes=100-")


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"cannot write .*taken.*choose a folder you can write to"):
        fetch(server.url(), tmp_path / "taken" / "file.bin", sha256=SHA256)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(server, tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    with pytest.raises(DownloadError, match=r"cannot write .*read-only.*choose a folder you can write to"):
        fetch(server.url(), folder / "file.bin", sha256=SHA256)


def test_two_downloads_of_the_same_file_at_once_never_make_a_wrong_one(server, path):
    class SecondOneComes(Heard):
        def advance(self, steps, figures=None):
            if steps and not self.told[1:]:
                self.told.append("second")
                fetch(server.url(), path, sha256=SHA256)

    with pytest.raises(DownloadError, match="another process is downloading the same file"):
        fetch(server.url(), path, sha256=SHA256, progress=SecondOneComes())
    assert path.read_bytes() == CONTENT
