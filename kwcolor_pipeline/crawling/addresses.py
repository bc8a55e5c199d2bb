"""Which addresses may be connected to: public ones, and the base address that the operator has set.

Belongs here: resolving a host's name once and connecting to exactly what was checked, so that no answer, redirect
or name server can send the crawler into the operator's own network. What is asked for does not.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

#: Like `socket.getaddrinfo(host, port)`.
Resolver = Callable[[str, int], Sequence[tuple[Any, ...]]]

_SCHEMES = {"http": 80, "https": 443}
#: Public by registration, and yet a machine's own metadata service (Azure).
_NEVER = frozenset({ipaddress.ip_address("168.63.129.16")})
#: Prefix of IPv6 addresses that stand for an IPv4 address (RFC 6052, NAT64).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class UnsafeAddress(Exception):
    """An address that is not connected to; the message says which."""


def origin_of(url: str) -> tuple[str, int] | None:
    """Host in small letters and port of an http(s) address; None for any other."""
    try:
        parts = urlsplit(url)
        port = parts.port or _SCHEMES[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.hostname.lower(), port) if parts.hostname else None


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the public internet.

    Loopback, private, link-local (with the clouds' metadata services), shared, multicast and reserved ones do
    not, nor do IPv6 addresses that carry such an IPv4 address.
    """
    try:
        address: _Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast and one not in _NEVER for one in (address, *_carried(address)))


def _carried(address: _Address) -> list[_Address]:
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in carried if one is not None]


def _system_resolver(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class AddressGuard:
    """Resolves names and lets public addresses pass; ``trusted`` hosts and ports pass whatever they are."""

    def __init__(self, trusted: Collection[tuple[str, int]] = (), resolve: Resolver = _system_resolver) -> None:
        self._trusted = frozenset(trusted)
        self._resolve = resolve

    def checked(self, host: str, port: int) -> list[str]:
        """The IP addresses of ``host``.

        Raises UnsafeAddress where any of them is not public, socket.gaierror where the name has none.
        """
        name = host.lower().strip("[]")
        found = list(dict.fromkeys(str(info[4][0]) for info in self._resolve(name, port)))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        if (name, port) not in self._trusted:
            for address in found:
                if not is_public(address):
                    raise UnsafeAddress(f"{host} is {address}, which is not on the public internet")
        return found


def _connect(connection: HTTPConnection, guard: AddressGuard) -> socket.socket:
    """What urllib3's `_new_conn` does, but only to addresses that the guard has checked."""
    try:
        addresses = guard.checked(connection._dns_host, connection.port)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except UnicodeError as error:  # a label that is empty or too long
        raise UnsafeAddress(f"{connection.host!r} is no host name") from error
    failure: OSError | None = None
    for address in addresses:
        try:
            return create_connection(
                (address, connection.port), connection.timeout, socket_options=connection.socket_options
            )
        except TimeoutError as error:
            raise ConnectTimeoutError(connection, f"{connection.host} did not accept a connection in time") from error
        except OSError as error:
            failure = error
    raise NewConnectionError(connection, f"{connection.host} does not accept connections ({failure})")


class GuardedAdapter(HTTPAdapter):
    """Connects for `requests` through an :class:`AddressGuard`, at every connection and never by a proxy."""

    def __init__(self, guard: AddressGuard, connections: int) -> None:
        self._guard = guard
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        guard = self._guard

        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(self, guard)

        class SecureConnection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(self, guard)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = SecureConnection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
