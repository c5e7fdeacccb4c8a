"""Middleware that checks Host and Origin of requests and adds security headers.

An untrusted page can make its own host name resolve to 127.0.0.1, after which a browser treats this server as a part of
that site (DNS rebinding). The name is still in the Host header, and the server answers only to names of its own.
"""

from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

_HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'self'",
            # Components are scripts at blob: URLs, which only scripts of this app can create. Some of Streamlit's own
            # components compile code ('unsafe-eval'). The hash is of the inline script in Streamlit's page. No script
            # comes from another host.
            "script-src 'self' blob: 'unsafe-eval' 'sha256-THxz9J9+wf7rhwR2YkXJoSZ13UCmYyC+3lNDv2+8ugA='",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_STRANGE_HOST = (
    "This app answers to localhost only, or to the address that it was told to listen on. To open it under another "
    "name, start it with --server.allowedHosts NAME, once for each name that it is to answer to."
)
_STRANGE_ORIGIN = (
    "A page of another site asked for this. Where that site is a proxy before this app that changes the Host header, "
    "start the app with --server.corsAllowedOrigins, followed by the address that readers see."
)


class Guard:
    """Middleware that refuses foreign hosts and origins and adds security headers."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an ASGI application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_confined(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        serve = self._app
        if scope["type"] in ("http", "websocket") and (refusal := _refusal(Headers(scope=scope))):
            serve = WebSocketClose(1008) if scope["type"] == "websocket" else PlainTextResponse(refusal, 403)
        await serve(scope, receive, send_confined)


MIDDLEWARE = [Middleware(Guard)]


def _refusal(headers: Headers) -> str | None:
    """Return why a request is refused, in one line; None where it is served."""
    host = headers.get("host", "")
    if not is_known_host(host):
        return _STRANGE_HOST
    return None if is_known_origin(headers.get("origin"), host) else _STRANGE_ORIGIN


def is_known_host(host: str) -> bool:
    """Return whether a Host header names this server, on any port.

    The port is not compared, since a tunnel has another one. The names of Streamlit's `server.allowedHosts` are
    accepted, where it is set. Otherwise localhost, the loopback addresses, and the values of `server.address` and
    `browser.serverAddress` are; and every IP address, if the server listens on all. (An untrusted page cannot be at an
    IP address of this machine.)
    """
    name = _name(host)
    if name is None:
        return False
    if allowed := st.get_option("server.allowedHosts"):
        return any(fnmatchcase(name, pattern.strip().lower().rstrip(".")) for pattern in allowed)
    # browser.serverAddress may be the beginning of a URL.
    shown = urlsplit("//" + st.get_option("browser.serverAddress").rpartition("://")[2]).hostname
    own = {"localhost", (st.get_option("server.address") or "").lower(), shown}
    address = _ip(name)
    if address is None or name in own:
        return name in own
    return address.is_loopback or not own.isdisjoint(("0.0.0.0", "::"))


def is_known_origin(origin: str | None, host: str) -> bool:
    """Return whether the origin of a request is accepted.

    Accepted are a page of this server, no page at all, and a site that the settings name. (Streamlit would compare the
    origin with the machine's public address, and request that address from a host on the Internet.)
    """
    if origin is None or not st.get_option("server.enableCORS"):
        return True
    return urlsplit(origin).netloc == host or origin in st.get_option("server.corsAllowedOrigins")


def _name(host: str) -> str | None:
    """Return the name or address in a Host header, in lower case.

    None for a malformed one.
    """
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or parts.hostname is None:
        return None
    return parts.hostname.rstrip(".")


def _ip(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None
