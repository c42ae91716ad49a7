"""What is special about an IP address: the networks that are not the public internet.

Every form of an address is read as the system would read it: http://2130706433/ is 127.0.0.1.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# IANA's registry of special-purpose IPv4 addresses (RFC 6890 and what updates it)
SPECIAL_4 = {
    "127.0.0.0/8": "this machine",
    "10.0.0.0/8": "a private network",
    "172.16.0.0/12": "a private network",
    "192.168.0.0/16": "a private network",
    "169.254.0.0/16": "link-local",  # with 169.254.169.254, the cloud's metadata
    "100.64.0.0/10": "a carrier's private network",  # with 100.100.100.200, metadata
    "168.63.129.16/32": "a cloud's own service",  # Azure's, in public space
    "0.0.0.0/8": "unspecified",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "a tunnel",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
SPECIAL_6 = {
    "::1/128": "this machine",
    "::/128": "unspecified",
    "fc00::/7": "a private network",  # with fd00:ec2::254, metadata
    "fe80::/10": "link-local",
    "fec0::/10": "a private network",
    "ff00::/8": "multicast",
    "2001::/23": "reserved",  # protocol assignments; Teredo tunnels among them
    "2001:db8::/32": "for documentation",
    "3fff::/20": "for documentation",
}
# IPv6 addresses that stand for an IPv4 one, and how far up its bits are in them
EMBEDDED = {
    "::ffff:0:0/96": 0,  # mapped
    "::ffff:0:0:0/96": 0,  # translated
    "64:ff9b::/96": 0,  # NAT64
    "2002::/16": 80,  # 6to4
    "::/96": 0,  # compatible
}
GLOBAL_6 = ip_network("2000::/3")  # all that is given out of IPv6
_SPECIAL = [
    (ip_network(net), what) for table in (SPECIAL_4, SPECIAL_6) for net, what in table.items()
]
_EMBEDDED = [(ip_network(net), shift) for net, shift in EMBEDDED.items()]
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214: an IPv4 address in the lower half of any network


def special(address: str | IPv4Address | IPv6Address) -> str | None:
    """What is special about an IP address, in words; None where it is a plain public one."""
    address = ip_address(address) if isinstance(address, str) else address
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "link-local"
    for net, what in _SPECIAL:
        if address in net:
            return what
    if isinstance(address, IPv6Address):
        for net, shift in _EMBEDDED:
            if address in net:
                return special(IPv4Address(int(address) >> shift & 0xFFFFFFFF))
        if address not in GLOBAL_6:
            return "reserved"
        if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
            return special(IPv4Address(int(address) & 0xFFFFFFFF))
    return None


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, in any form that the system takes for one; None for a name."""
    bare = host.strip("[]").rstrip(".")
    try:
        return ip_address(bare)
    except ValueError:
        pass
    try:  # 127.1, 0x7f000001, 017700000001, 2130706433
        return IPv4Address(socket.inet_aton(bare))
    except (OSError, UnicodeEncodeError):
        return None
