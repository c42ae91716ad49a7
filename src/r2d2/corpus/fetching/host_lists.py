"""Lists of hosts in the settings: those that are blocked, and private ones that are allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from r2d2.corpus.fetching.outcome import Cause, FetchFailed
from r2d2.corpus.fetching.special_addresses import literal, special
from r2d2.errors import R2D2Error
from r2d2.inputs.encoding import read_lines


def host_of(url: str) -> str:
    """The host of an address; nothing where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def within(host: str, hosts: frozenset[str]) -> bool:
    """Whether a host, or a domain that it is in, is among the hosts."""
    host = host.rstrip(".").lower()
    while host:
        if host in hosts:
            return True
        host = host.partition(".")[2]
    return "*" in hosts


def host_list(entries: Iterable[str]) -> frozenset[str]:
    """Hosts of a block list.

    Args:
        entries: hosts, or files of one host a line, in which # starts a comment.

    Raises:
        R2D2Error: a file cannot be read, or an entry is no host.
    """
    return frozenset(_host(entry) for entry in _entries(entries))


@dataclass(frozen=True)
class PrivateHosts:
    """Hosts and networks that may be fetched from although they are private."""

    hosts: frozenset[str] = frozenset()  # with their subdomains; *: all
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def read(cls, entries: Iterable[str]) -> PrivateHosts:
        """From hosts, addresses, networks such as 10.0.0.0/8, `*`, and files of one a line.

        Raises:
            R2D2Error: a file cannot be read, or an entry is neither a host nor a network.
        """
        hosts: set[str] = set()
        networks: set[IPv4Network | IPv6Network] = set()
        for entry in _entries(entries):
            network = _network(entry)
            if network is None:
                hosts.add(_host(entry))
            else:
                networks.add(network)
        ordered = sorted(networks, key=lambda net: (net.version, net))
        return cls(frozenset(hosts), tuple(ordered))

    def permitted(self, host: str, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those addresses of a host that may be connected to: public ones, and those allowed here.

        Raises:
            FetchFailed: REFUSED, where there is none.
        """
        addresses = tuple(addresses)
        if within(host, self.hosts):
            return addresses
        permitted = tuple(a for a in addresses if special(a) is None or self._inside(a))
        if not permitted:
            address = addresses[0]
            raise FetchFailed(
                Cause.REFUSED,
                f"private address: {host} is {address}, {special(address)} "
                "(a setting may allow it: fetch.allow_private)",
                settings=("allow_private",),
            )
        return permitted

    def _inside(self, text: str) -> bool:
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # the system connects to that
        return any(address in network for network in self.networks)


def _entries(entries: Iterable[str]) -> Iterator[str]:
    """The entries of a list of hosts, those in its files among them, without comments."""
    for entry in entries:
        lines = [entry]
        if _network(entry) is None and ("/" in entry or entry.endswith(".txt")):
            try:
                lines = read_lines(Path(entry))
            except OSError as error:
                raise R2D2Error(
                    f"cannot read the hosts of {entry} ({error}): "
                    "give a text file of one host a line, or hosts themselves"
                ) from error
        for line in lines:
            if text := line.partition("#")[0].strip():
                yield text


def _host(entry: str) -> str:
    host = entry.removeprefix("*.").strip(".").lower()
    if not host or (any(c in "/:@" or c.isspace() for c in host) and literal(host) is None):
        raise R2D2Error(
            f"{entry!r} is no host: give the name alone, as img.example.com, without http://, port "
            "and path"
        )
    return _ascii(host)


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    """A network, or a plain address as one; None for anything else."""
    address, slash, _ = entry.partition("/")
    try:
        ip_address(address.strip("[]"))
    except ValueError:
        return None
    try:
        return ip_network(entry if slash else address.strip("[]"))
    except ValueError as error:
        try:
            hint = f"write {ip_network(entry, strict=False)}"
        except ValueError:
            hint = "write it as 10.0.0.0/8"
        raise R2D2Error(f"{entry} is no network ({error}): {hint}") from error


def _ascii(host: str) -> str:
    """A host as it travels: 例子.测试 is xn--fsqu00a.xn--0zwm56d."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host
