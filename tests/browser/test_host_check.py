"""Who the server answers, by raw sockets: requests under foreign names and from foreign pages are refused."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit import config

from app.shell.guard import is_known_host
from tests.support.browser import served

EXTRA = "localhost ::1 app.example.net *.wild.example"


def ask(port: int, host: str, origin: str = "", path: str = "/", websocket: bool = False, at: str = "127.0.0.1") -> str:
    """Status line and headers of the answer to a request."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *([f"Origin: {origin}"] if origin else [])]
    if websocket:
        key = "AAAAAAAAAAAAAAAAAAAAAA=="
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    with socket.create_connection((at, port), 30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(4096)):
            answer += more
    return answer.partition(b"\r\n\r\n")[0].decode()


def statuses(port: int, host: str, origin: str = "", at: str = "127.0.0.1") -> tuple[int, int]:
    """Status of the page and of the WebSocket."""
    page = ask(port, host, origin, at=at)
    return int(page.split()[1]), int(ask(port, host, origin, "/_stcore/stream", True, at).split()[1])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of the app as it comes."""
    with served(tmp_path_factory.mktemp("library")) as address:
        yield int(address.rpartition(":")[2])


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "localhost", "LOCALHOST.:{port}", "localhost:8888"]
)
def test_the_apps_own_names_are_served_on_whatever_port(port: int, host: str) -> None:
    named = host.format(port=port)
    assert statuses(port, named) == (200, 101)
    assert statuses(port, named, f"http://{named}") == (200, 101)
    assert statuses(port, named, f"https://{named}") == (200, 101)  # a tunnel or proxy may add TLS


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "localhost.evil.eu", "evil.example@localhost", "localhost@evil.example",
     "localhost/evil.example", "10.0.0.1:{port}", "[::2]:{port}", "[::1", "localhost:evil", "localhost evil", ""],
)  # fmt: skip
def test_a_foreign_host_is_refused(port: int, host: str) -> None:
    named = host.format(port=port)
    for origin in ("", f"http://{named}", f"http://localhost:{port}"):
        page, websocket = statuses(port, named, origin)
        assert page in (400, 403) and websocket in (400, 403)
    for path in ("/_stcore/health", "/_stcore/host-config", "/atoms?d=x", "/favicon.png"):
        assert ask(port, named, path=path).split()[1] in ("400", "403")


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:1", "https://evil.streamlit.app", "null"])
def test_a_page_of_another_site_is_refused(port: int, origin: str) -> None:
    assert statuses(port, f"localhost:{port}", origin) == (403, 403)


def test_a_page_is_confined(port: int) -> None:
    for answer in (ask(port, "localhost"), ask(port, "localhost", path="/_stcore/health"), ask(port, "evil.example")):
        assert "x-frame-options: DENY" in answer
        assert "x-content-type-options: nosniff" in answer
        policy = re.search("content-security-policy: (.*)\r", answer)
        assert policy is not None
        assert "default-src 'self'" in policy[1] and "frame-ancestors 'none'" in policy[1]
        assert "script-src 'self' blob:" in policy[1]
        assert "http" not in policy[1] and "unsafe-inline" not in policy[1].partition("style-src")[0]


def test_other_names_are_served_where_they_are_named(tmp_path: Path) -> None:
    settings = {
        "STREAMLIT_SERVER_ALLOWED_HOSTS": EXTRA,
        "STREAMLIT_SERVER_CORS_ALLOWED_ORIGINS": "https://seen.example",
    }
    with served(tmp_path, **settings) as address:
        port = int(address.rpartition(":")[2])
        for host in ("localhost", "app.example.net", f"APP.example.net:{port}", "a.wild.example", "[::1]"):
            assert statuses(port, host, f"http://{host}") == (200, 101)
            assert statuses(port, host, "https://seen.example") == (200, 101)  # a proxy that changes the Host header
        for host in ("evil.example", "example.net", "wild.example.evil.example", "127.0.0.1"):
            assert statuses(port, host, f"http://{host}") == (403, 403)
        assert statuses(port, "localhost", "https://evil.example") == (403, 403)


def test_an_ipv6_address_is_listened_on(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with served(tmp_path, STREAMLIT_SERVER_ADDRESS="::1") as address:
        port = int(address.rpartition(":")[2])
        assert statuses(port, f"[::1]:{port}", f"http://[::1]:{port}", at="::1") == (200, 101)
        assert statuses(port, "evil.example", at="::1") == (403, 403)


@pytest.mark.parametrize(
    ("settings", "known", "foreign"),
    [
        ({"server.address": "0.0.0.0"}, ["192.168.1.5:8501", "[fe80::1]", "localhost"], ["box", "evil.example"]),
        ({"server.address": "::"}, ["192.168.1.5:8501", "[fe80::1]", "127.0.0.1"], ["box", "evil.example"]),
        ({"server.address": "192.168.1.5"}, ["192.168.1.5", "localhost:1"], ["192.168.1.6", "evil.example"]),
        ({"server.address": "Box"}, ["box", "BOX:8501"], ["192.168.1.5", "boxes"]),
        ({"server.address": None}, ["localhost", "127.8.9.1"], ["192.168.1.5", "box"]),
        ({"browser.serverAddress": "https://Seen.example/itda"}, ["seen.example", "localhost"], ["evil.example"]),
        ({"browser.serverAddress": "seen.example:80"}, ["seen.example", "localhost"], ["evil.example", "seen"]),
        ({"server.allowedHosts": ["*"]}, ["evil.example"], ["", "a@b", "[::1"]),
    ],
)
def test_what_the_settings_say_is_answered_to(settings: dict, known: list[str], foreign: list[str]) -> None:
    before = {name: st.get_option(name) for name in settings}
    try:
        for name, value in settings.items():
            config.set_option(name, value)
        assert [host for host in known if not is_known_host(host)] == []
        assert [host for host in foreign if is_known_host(host)] == []
    finally:
        for name, value in before.items():
            config.set_option(name, value)
