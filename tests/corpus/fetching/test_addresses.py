"""Which addresses are public: against Python's own tables, in every disguise; and the memory."""

import asyncio
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.corpus.fetching import addresses
from r2d2.corpus.fetching.addresses import AddressBook
from r2d2.corpus.fetching.host_lists import PrivateHosts, host_list, within
from r2d2.corpus.fetching.outcome import Cause, FetchFailed
from r2d2.corpus.fetching.special_addresses import literal, special
from r2d2.errors import R2D2Error

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "168.63.129.16",
    "0.0.0.0",
    "0.1.2.3",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE_6 = [
    "::",
    "::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
    "64:ff9b:1::a00:1",
]
PUBLIC = ["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "1.1.1.1", "11.0.0.1"]
PUBLIC_6 = ["2606:4700::6810:84e5", "2400:3200::1"]
DISGUISES = {
    "mapped": lambda n: n | 0xFFFF << 32,
    "translated": lambda n: n | 0xFFFF << 48,
    "compatible": lambda n: n,
    "NAT64": lambda n: n | 0x64FF9B << 96,
    "6to4": lambda n: n << 80 | 0x2002 << 112,
    "ISATAP": lambda n: n | 0x26064700 << 96 | 0x5EFE << 32,
}


@pytest.mark.parametrize("address", [*PRIVATE, *PRIVATE_6])
def test_what_is_not_public_is_named(address):
    assert special(address)


@pytest.mark.parametrize("address", [*PUBLIC, *PUBLIC_6])
def test_what_is_public_is_let_pass(address):
    assert special(address) is None


@pytest.mark.parametrize("disguise", DISGUISES)
def test_an_address_within_another_is_judged_as_itself(disguise):
    hidden = DISGUISES[disguise]
    for address in PRIVATE:
        assert special(ipaddress.IPv6Address(hidden(int(ipaddress.IPv4Address(address))))), address
    for address in PUBLIC:
        outer = ipaddress.IPv6Address(hidden(int(ipaddress.IPv4Address(address))))
        assert special(outer) is None, address


@given(st.ip_addresses(v=4) | st.ip_addresses(network="2000::/3"))
def test_nothing_that_python_calls_private_passes(address):
    """Its tables differ between versions, and ours are stricter."""
    kinds = ("private", "multicast", "reserved", "loopback", "link_local", "unspecified")
    named = [kind for kind in kinds if getattr(address, f"is_{kind}")]
    assert special(address) or not named


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0x7F000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("::ffff:7f00:1", "::ffff:127.0.0.1"),
        ("photos.test", None),
        ("1.2.3.4.test", None),
        ("256.1.1.1", None),
        ("例子.测试", None),
        ("", None),
    ],
)
def test_every_spelling_of_an_address_is_read_as_the_system_reads_it(host, meant):
    assert literal(host) == (None if meant is None else ipaddress.ip_address(meant))


def test_hosts_cover_their_subdomains_and_nothing_else(tmp_path):
    listed = tmp_path / "hosts.txt"
    listed.write_text("# bad hosts\nbad.test\n*.worse.test  # all of it\n\n例子.测试\n")
    hosts = host_list([str(listed), "Alone.TEST."])
    assert hosts == {"bad.test", "worse.test", "xn--fsqu00a.xn--0zwm56d", "alone.test"}
    for host in ("bad.test", "a.b.bad.test", "BAD.test.", "worse.test", "img.alone.test"):
        assert within(host, hosts), host
    for host in ("test", "notbad.test", "bad.test.org", "", "bad"):
        assert not within(host, hosts), host
    assert within("anything", frozenset({"*"}))
    for encoding in ("utf-8-sig", "gbk", "utf-16"):
        listed.write_text("# 不可取图的网站\nbad.test  # 广告图片太多\n", encoding=encoding)
        assert host_list([str(listed)]) == {"bad.test"}
    with pytest.raises(R2D2Error, match=r"cannot read the hosts of none\.txt"):
        host_list(["none.txt"])


def named(answers, asked=None):
    async def lookup(host):
        if asked is not None:
            asked.append(host)
        await asyncio.sleep(0)
        found = answers[host]
        found = found.pop(0) if found and isinstance(found[0], list | Exception) else found
        if isinstance(found, Exception):
            raise found
        return found

    return lookup


def test_only_public_addresses_of_a_name_are_given():
    async def main():
        answers = {"mixed.test": ["10.0.0.1", "8.8.8.8", "::1"], "inner.test": ["10.0.0.1"]}
        book = AddressBook(lookup=named(answers))
        assert await book.find("mixed.test") == ("8.8.8.8",)
        assert [found["host"] for found in await book.resolve("mixed.test", 80)] == ["8.8.8.8"]
        with pytest.raises(FetchFailed, match=r"inner\.test is 10\.0\.0\.1, a private net") as got:
            await book.find("inner.test")
        assert got.value.cause == Cause.REFUSED
        with pytest.raises(OSError, match="private"):
            await book.resolve("inner.test", 80)
        allowed = AddressBook(["inner.test"], named(answers))
        assert await allowed.find("a.inner.test".removeprefix("a.")) == ("10.0.0.1",)

    asyncio.run(main())


def test_a_name_that_turns_private_is_not_connected_to(monkeypatch):
    """DNS rebinding: public when it is checked, private when it is connected to."""
    monkeypatch.setattr(addresses, "SECONDS", -1.0)  # no memory, which alone would save us

    async def main():
        book = AddressBook(lookup=named({"turns.test": [["8.8.8.8"], ["127.0.0.1"]]}))
        assert await book.find("turns.test") == ("8.8.8.8",)
        with pytest.raises(OSError, match="private"):
            await book.resolve("turns.test", 80)

    asyncio.run(main())


def test_answers_are_remembered_shared_and_bounded(monkeypatch):
    monkeypatch.setattr(addresses, "CACHED", 2)

    async def main():
        asked = []
        no_name = socket.gaierror(socket.EAI_NONAME, "not known")
        busy = socket.gaierror(socket.EAI_AGAIN, "busy")
        answers = {"a.test": ["8.8.8.8"], "b.test": ["8.8.4.4"], "c.test": ["1.1.1.1"]}
        answers |= {"none.test": [no_name], "busy.test": [busy, ["1.1.1.1"]], "empty.test": []}
        book = AddressBook(lookup=named(answers, asked))
        await asyncio.gather(*(book.find("a.test") for _ in range(9)))
        await book.find("a.test")
        assert asked == ["a.test"]
        for _ in range(2):  # that there is none is remembered too
            with pytest.raises(FetchFailed, match="not known") as got:
                await book.find("none.test")
            assert (got.value.cause, got.value.passing) == (Cause.UNRESOLVED, False)
        assert asked == ["a.test", "none.test"]
        with pytest.raises(FetchFailed, match="busy") as got:  # a busy name server is asked again
            await book.find("busy.test")
        assert got.value.passing
        assert await book.find("busy.test") == ("1.1.1.1",)
        with pytest.raises(FetchFailed, match="no address"):
            await book.find("empty.test")
        await book.find("c.test")
        asked.clear()
        await book.find("a.test")  # forgotten, for two younger ones
        assert asked == ["a.test"]

    asyncio.run(main())


def test_who_stops_waiting_does_not_stop_the_others():
    async def main():
        gate = asyncio.Event()

        async def lookup(host):
            await gate.wait()
            return ["8.8.8.8"]

        book = AddressBook(lookup=lookup)
        first, second = (asyncio.create_task(book.find("slow.test")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await second == ("8.8.8.8",)

    asyncio.run(main())


def test_the_system_resolves_this_machine_and_it_is_refused():
    async def main():
        book = AddressBook()
        try:
            with pytest.raises(FetchFailed, match="this machine"):
                await book.find("localhost")
        finally:
            await book.close()

    asyncio.run(main())


def allowed(entries, host, *addresses):
    """Which addresses of a host may be connected to."""
    try:
        return PrivateHosts.read(entries).permitted(host, addresses)
    except FetchFailed as error:
        return () if "fetch.allow_private" in error.reason else None


def test_a_network_allows_its_addresses_and_no_others():
    inner = ["10.0.0.0/8", "fd00::/8"]
    for address in ("10.0.0.1", "10.255.1.2", "fd00::7", "::ffff:10.0.0.1"):
        assert allowed(inner, "store.test", address) == (address,)
    for address in ("127.0.0.1", "192.168.0.1", "169.254.169.254", "::1", "fe80::1", "fd00::7%eth0",
                    "::ffff:192.168.0.1", "64:ff9b::a00:1", "2002:a00:1::1"):  # fmt: skip
        assert allowed(inner, "store.test", address) == (), address
    mixed = ("192.168.0.1", "10.0.0.1", "8.8.8.8")
    assert allowed(inner, "store.test", *mixed) == ("10.0.0.1", "8.8.8.8")


def test_an_address_allows_itself_and_a_name_its_own(tmp_path):
    assert allowed(["10.1.2.3"], "any.test", "10.1.2.3") == ("10.1.2.3",)
    assert allowed(["10.1.2.3"], "any.test", "10.1.2.4") == ()
    assert allowed(["[::1]"], "::1", "::1") == ("::1",)
    assert allowed(["store.test"], "img.store.test", "192.168.0.1") == ("192.168.0.1",)
    assert allowed(["*.store.test"], "img.store.test", "192.168.0.1") == ("192.168.0.1",)
    assert allowed(["store.test"], "store.test.evil.test", "192.168.0.1") == ()
    assert allowed(["*"], "any.test", "127.0.0.1") == ("127.0.0.1",)
    listed = tmp_path / "private.txt"
    listed.write_text("10.0.0.0/8  # 图片库\nstore.test\n", encoding="utf-8")
    assert allowed([str(listed)], "any.test", "10.1.2.3") == ("10.1.2.3",)
    assert allowed([str(listed)], "store.test", "127.0.0.1") == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("10.0.0.1/8", r"10\.0\.0\.1/8 is no network .*write 10\.0\.0\.0/8"),
        ("10.0.0.0/33", r"10\.0\.0\.0/33 is no network .*write it as 10\.0\.0\.0/8"),
        ("store.test:8080", r"'store\.test:8080' is no host: give the name alone"),
        ("store test", "is no host"),
        ("http://store.test/", "cannot read the hosts of http://store.test/"),
    ],
)
def test_what_is_neither_a_host_nor_a_network_is_refused(entry, told):
    with pytest.raises(R2D2Error, match=told):
        PrivateHosts.read([entry])


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "017700000001", "127.1"])
def test_an_address_in_disguise_is_refused_even_where_its_network_is_allowed(host):
    async def main():
        for entries in (["127.0.0.0/8"], ["*"]):
            with pytest.raises(FetchFailed, match=r"written for 127\.0\.0\.1"):
                await AddressBook(entries).find(host)

    asyncio.run(main())


def test_a_name_that_turns_to_another_private_network_is_not_connected_to(monkeypatch):
    monkeypatch.setattr(addresses, "SECONDS", -1.0)

    async def main():
        answers = {"turns.test": [["10.0.0.1"], ["127.0.0.1"]]}
        book = AddressBook(["10.0.0.0/8"], named(answers))
        assert await book.find("turns.test") == ("10.0.0.1",)
        with pytest.raises(OSError, match="private"):
            await book.resolve("turns.test", 80)

    asyncio.run(main())
