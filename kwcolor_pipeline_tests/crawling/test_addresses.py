import ipaddress
import socket

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.addresses import AddressGuard, GuardedAdapter, UnsafeAddress, is_public, origin_of
from kwcolor_pipeline_tests.servers.loc_imitation import Library, Photo, picture, serve

PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:db8::1",
    "not an address",
    "",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_on_the_public_internet(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["140.147.236.1", "208.80.154.224", "2620:0:861:ed1a::1", "64:ff9b::8c93:ec01"])
def test_what_is(address):
    assert is_public(address)


@given(st.ip_addresses(v=4).filter(lambda one: not one.is_global))
def test_an_address_that_ipv6_wraps_is_as_unsafe_as_it_is_bare(address):
    number = int(address)
    for wrapped in (
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80),
    ):
        assert not is_public(str(wrapped))


def resolver(**names):
    """Resolves the given names only: to one address or a list of them."""

    def resolve(host, port):
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        found = names[host] if isinstance(names[host], list) else [names[host]]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return resolve


def test_a_name_is_as_safe_as_its_worst_address():
    guard = AddressGuard(resolve=resolver(good="140.147.236.1", mixed=["140.147.236.1", "10.0.0.1"], bad="::1"))
    assert guard.checked("good", 80) == ["140.147.236.1"]
    for name in ("mixed", "bad"):
        with pytest.raises(UnsafeAddress, match=f"{name} is .* not on the public internet"):
            guard.checked(name, 80)


def test_only_the_trusted_host_and_port_may_be_private():
    guard = AddressGuard([("archive.test", 8080)], resolver(**{"archive.test": "127.0.0.1", "localhost": "127.0.0.1"}))
    assert guard.checked("ARCHIVE.test", 8080) == ["127.0.0.1"]
    for host, port in (("archive.test", 8081), ("localhost", 8080)):
        with pytest.raises(UnsafeAddress):
            guard.checked(host, port)


def session(guard):
    session = requests.Session()
    session.trust_env = False
    session.adapters.clear()
    session.mount("http://", GuardedAdapter(guard, 4))
    return session


def test_the_connection_goes_to_the_address_that_was_checked_and_nowhere_else():
    answers = ["127.0.0.1"]
    with serve(Library(photos=[Photo("p", data=picture(1))])) as library:
        port = int(library.url.rpartition(":")[2])
        asked = []

        def rebinding(host, port):
            """Another address at each question, as a hostile name server gives them."""
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0) if answers else "10.0.0.1", port))]

        guarded = session(AddressGuard([("archive.test", port)], rebinding))
        answer = guarded.get(f"http://archive.test:{port}/image/p/full.jpg", timeout=5)
        assert answer.content == picture(1)
        assert asked == ["archive.test"]


def test_an_unsafe_address_is_never_connected_to():
    with serve(Library()) as library:
        port = library.url.rpartition(":")[2]
        for url in (library.url, f"http://localhost:{port}/", f"http://2130706433:{port}/", f"http://[::1]:{port}/"):
            with pytest.raises(UnsafeAddress):
                session(AddressGuard()).get(url, timeout=5)
        assert not library.asked


def test_a_name_that_does_not_resolve_is_a_connection_error():
    with pytest.raises(requests.ConnectionError):
        session(AddressGuard(resolve=resolver())).get("http://nowhere.test/", timeout=5)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://A.org/x", ("a.org", 80)),
        ("https://a.org", ("a.org", 443)),
        ("http://[::1]:8080/", ("::1", 8080)),
        ("file:///etc/passwd", None),
        ("http://", None),
        ("http://[::1", None),
        ("http://a:x/", None),
        ("", None),
    ],
)
def test_origins(url, origin):
    assert origin_of(url) == origin


@given(st.text(max_size=60))
def test_any_text_has_an_origin_or_none(text):
    assert origin_of(text) is None or origin_of(text)[0]
