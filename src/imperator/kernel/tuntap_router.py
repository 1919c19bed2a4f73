"""The tuntap router: from one TUN device of the host to the streams of many devices elsewhere, and back.

A process of its own, ``python -I -S tuntap_router.py CONTROL TUN SERVER STATS GATEWAY SETTINGS PATH…`` (-1: there is no
such socket). When the Emperor is gone it ends. What it has to say goes to the Emperor as lines over CONTROL.

The first packet of IPv4 that a peer sends registers its source address for that peer. From then on, and that is
stricter than the original:

* the address is this peer's until it disconnects: whoever else comes with it is sent away;
* what the peer sends with another source is dropped.

Nothing waits for a peer: what does not fit into its buffer is dropped, and counted.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from imperator.kernel.firewall import Verdict

AT_ONCE: Final = 64
"""Packets of the device that are read before anything else is done."""
CHUNK: Final = 262144
"""Bytes read from a peer at once."""
MOST_WAITING: Final = 262144
"""Bytes that wait for a peer that does not read."""
_CREDENTIALS: Final = struct.Struct("=iII")
_ANYBODY: Final = bytes(4)


class Peer:
    """One connected device."""

    __slots__ = (
        "address",
        "credentials",
        "dropped",
        "fd",
        "firewall_in",
        "firewall_out",
        "out",
        "rx",
        "sock",
        "stream",
        "tx",
        "unknown",
        "waiting",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, stream: Any, unknown: bool) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.stream = stream
        self.unknown = unknown
        """It has to present its credentials first."""
        self.address = b""
        """As in a packet; empty: not registered."""
        self.credentials = (0, 0, 0)
        """pid, uid, gid: of whoever connected, or as it presented them."""
        self.firewall_in: Callable[[bytes], Verdict] | None = None
        self.firewall_out: Callable[[bytes], Verdict] | None = None
        self.out = bytearray()
        self.waiting = False
        """For room in its socket."""
        self.tx = self.rx = self.dropped = 0

    def described(self) -> dict[str, Any]:
        """As in the original's statistics."""
        pid, uid, gid = self.credentials
        return {
            "addr": socket.inet_ntoa(self.address) if self.address else "",
            "addr_32": int.from_bytes(self.address, sys.byteorder),
            "uid": uid,
            "gid": gid,
            "pid": pid,
            "tx": self.tx,
            "rx": self.rx,
            "dropped": self.dropped,
        }


class Router:
    """One device of the host and all peers."""

    def __init__(self, fds: list[int], settings: dict[str, Any]) -> None:
        from imperator.kernel import firewall, tuntap

        self._tuntap = tuntap
        self._firewall = firewall
        control, self.tun, server, stats, gateway = fds
        self.control = socket.socket(fileno=control)
        self.server = socket.socket(fileno=server)
        self.stats = None if stats < 0 else socket.socket(fileno=stats)
        self.gateway = None if gateway < 0 else socket.socket(fileno=gateway)
        self.settings = settings
        self.chain_in = firewall.chain_of(map(firewall.rule_of, settings["in"]))
        self.chain_out = firewall.chain_of(map(firewall.rule_of, settings["out"]))
        self.routes = firewall.chain_of(map(firewall.route_of, settings["routes"])) if self.gateway else None
        self.peers: dict[int, Peer] = {}
        self.by_address: dict[bytes, Peer] = {}
        self.readers: dict[int, tuple[socket.socket, bytes]] = {}
        """Who is reading statistics, and what is left of them."""
        self.poll = select.epoll()
        for one in (self.control, self.server, self.stats, self.gateway):
            if one is not None:
                one.setblocking(False)
                self.poll.register(one, select.EPOLLIN)
        self.poll.register(self.tun, select.EPOLLIN)

    def serve(self) -> NoReturn:
        others: dict[int, Callable[[], None]] = {
            self.tun: self.from_device,
            self.server.fileno(): self.accept,
            self.control.fileno(): self.hear_emperor,
        }
        if self.stats is not None:
            others[self.stats.fileno()] = self.accept_reader
        if self.gateway is not None:
            others[self.gateway.fileno()] = self.from_gateway
        while True:
            for fd, events in self.poll.poll():
                other = others.get(fd)
                if other is not None:
                    other()
                    continue
                peer = self.peers.get(fd)
                if peer is None:
                    if fd in self.readers:
                        self.tell_statistics(fd)
                    continue
                if events & select.EPOLLOUT:
                    self.flush(peer)
                if events & ~select.EPOLLOUT and self.peers.get(fd) is peer:
                    self.from_peer(peer)

    def say(self, text: str) -> None:
        try:
            self.control.send(text.encode(errors="replace"))
        except BlockingIOError:
            return  # the Emperor has hundreds of lines of ours to read
        except OSError:
            os._exit(0)

    def hear_emperor(self) -> None:
        """It never says anything: it is gone."""
        os._exit(0)

    # -- to the peers

    def from_device(self) -> None:
        dirty: set[Peer] = set()
        for _ in range(AT_ONCE):
            try:
                packet = os.read(self.tun, 65536)
            except BlockingIOError:
                break
            peer = self.deliver(packet, check_peer=True)
            if peer is not None:
                dirty.add(peer)
        for peer in dirty:
            if not peer.waiting:
                self.flush(peer)

    def from_gateway(self) -> None:
        assert self.gateway is not None
        for _ in range(AT_ONCE):
            try:
                packet = self.gateway.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:  # ICMP told us that somebody does not listen: udp(7)
                self.say(f"gateway: {error.strerror}")
                return
            peer = self.deliver(packet, check_peer=False)
            if peer is not None and not peer.waiting:
                self.flush(peer)

    def deliver(self, packet: bytes, *, check_peer: bool) -> Peer | None:
        """Into the buffer of whom it is for; returns that peer."""
        if not self._tuntap.is_packet(packet):
            return None
        addresses = packet[12:20]
        if self.chain_in is not None and self.chain_in(addresses):
            return None
        peer = self.by_address.get(packet[16:20])
        if peer is None:
            return None
        if check_peer and peer.firewall_in is not None and peer.firewall_in(addresses):
            return None
        if len(peer.out) + 4 + len(packet) > MOST_WAITING:
            peer.dropped += 1
            return None
        peer.out += self._tuntap.framed(packet)
        return peer

    def flush(self, peer: Peer) -> None:
        try:
            sent = peer.sock.send(peer.out) if peer.out else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.part(peer, error.strerror or str(error))
            return
        peer.tx += sent
        del peer.out[:sent]
        if bool(peer.out) != peer.waiting:
            peer.waiting = bool(peer.out)
            self.poll.modify(peer.fd, select.EPOLLIN | (select.EPOLLOUT if peer.waiting else 0))

    # -- from the peers

    def accept(self) -> None:
        try:
            sock, _ = self.server.accept()
        except BlockingIOError:
            return
        except OSError as error:  # EMFILE: it waits in the backlog
            self.say(f"a device cannot be accepted: {error.strerror}")
            return
        sock.setblocking(False)
        peer = Peer(sock, self._tuntap.Stream(), self.settings["credentials"])
        if sock.family == socket.AF_UNIX:
            data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            peer.credentials = _CREDENTIALS.unpack(data)
            if peer.unknown:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.peers[peer.fd] = peer
        self.poll.register(sock, select.EPOLLIN)

    def part(self, peer: Peer, why: str) -> None:
        """The peer is gone, or is sent away."""
        self.poll.unregister(peer.sock)
        del self.peers[peer.fd]
        if self.by_address.get(peer.address) is peer:
            del self.by_address[peer.address]
        peer.sock.close()
        if why:
            who = socket.inet_ntoa(peer.address) if peer.address else f"of uid {peer.credentials[1]}"
            self.say(f"device {who} is disconnected: {why}")

    def from_peer(self, peer: Peer) -> None:
        if peer.unknown:
            self.take_credentials(peer)
            return
        try:
            data = peer.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self.part(peer, error.strerror or str(error))
            return
        if not data:
            self.part(peer, "")
            return
        peer.rx += len(data)
        for kind, content in peer.stream.take(data):
            if kind == self._tuntap.RULES:
                if not self.take_rules(peer, content):
                    return
            elif self._tuntap.is_packet(content):
                if not peer.address and not self.register(peer, content):
                    return
                self.forward(peer, content)

    def take_credentials(self, peer: Peer) -> None:
        greeting = self._tuntap.GREETING
        try:
            data, ancillary, _, _ = peer.sock.recvmsg(len(greeting), socket.CMSG_SPACE(_CREDENTIALS.size))
        except BlockingIOError:
            return
        except OSError as error:
            self.part(peer, error.strerror or str(error))
            return
        wanted = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
        found = [item for level, kind, item in ancillary if (level, kind) == wanted]
        if data != greeting or not found:
            self.part(peer, "it did not present its credentials (tuntap-use-credentials)")
            return
        peer.credentials = _CREDENTIALS.unpack(found[0])
        peer.unknown = False

    def take_rules(self, peer: Peer, content: bytes) -> bool:
        firewall = self._firewall
        try:
            rules = firewall.device_rules_from_wire(content)
        except firewall.RuleError as error:
            self.part(peer, f"its rules cannot be read: {error}")
            return False
        peer.firewall_in = firewall.chain_of(rule.rule for rule in rules if rule.direction == firewall.IN)
        peer.firewall_out = firewall.chain_of(rule.rule for rule in rules if rule.direction == firewall.OUT)
        return True

    def register(self, peer: Peer, packet: bytes) -> bool:
        """By its first packet, if the firewall lets that pass; says whether the peer is still there."""
        if self.chain_out is not None and self.chain_out(packet[12:20]):
            return True
        address = packet[12:16]
        text = socket.inet_ntoa(address)
        if address == _ANYBODY or address in self.by_address:
            self.part(peer, f"{text} is another device's" if address != _ANYBODY else "its address is 0.0.0.0")
            return False
        peer.address = address
        self.by_address[address] = peer
        self.say(f"device {text} is registered (uid {peer.credentials[1]}, pid {peer.credentials[0]})")
        return True

    def forward(self, peer: Peer, packet: bytes) -> None:
        """To wherever the rules say: most often to the device."""
        addresses = packet[12:20]
        if self.chain_out is not None and self.chain_out(addresses):
            return
        if addresses[:4] != peer.address:
            peer.dropped += 1
            return
        if peer.firewall_out is not None and (verdict := peer.firewall_out(addresses)):
            if isinstance(verdict, tuple):
                self.to_gateway(packet, verdict)
            return
        if self.routes is not None and isinstance(route := self.routes(addresses), tuple):
            self.to_gateway(packet, route)
            return
        try:
            os.write(self.tun, packet)
        except OSError:  # the device is down (EIO), or what the peer sent is no packet (EINVAL)
            peer.dropped += 1

    def to_gateway(self, packet: bytes, target: tuple[str, int]) -> None:
        if self.gateway is not None:
            try:
                self.gateway.sendto(packet, target)
            except OSError as error:
                self.say(f"gateway {target[0]}:{target[1]}: {error.strerror}")

    # -- statistics

    def accept_reader(self) -> None:
        assert self.stats is not None
        try:
            sock, _ = self.stats.accept()
        except OSError:
            return
        sock.setblocking(False)
        document = {
            "version": self.settings["version"],
            "pid": os.getpid(),
            "uid": os.getuid(),
            "gid": os.getgid(),
            "cwd": os.getcwd(),
            "peers": [peer.described() for peer in self.peers.values()],
        }
        text = json.dumps(document).encode()
        if self.settings["http"]:
            head = "HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\n"
            text = f"{head}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text
        self.readers[sock.fileno()] = (sock, text)
        self.poll.register(sock, select.EPOLLOUT)

    def tell_statistics(self, fd: int) -> None:
        sock, text = self.readers[fd]
        try:
            text = text[sock.send(text) :]
        except BlockingIOError:
            return
        except OSError:  # it has heard enough
            text = b""
        self.readers[fd] = (sock, text)
        if not text:
            self.poll.unregister(sock)
            del self.readers[fd]
            sock.close()


def main(argv: list[str]) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP})
    fds = [int(number) for number in argv[1:6]]
    sys.path[1:1] = argv[7:]
    for fd in fds:
        if fd >= 0:
            os.set_inheritable(fd, False)
    Router(fds, json.loads(argv[6])).serve()


if __name__ == "__main__":
    main(sys.argv)
