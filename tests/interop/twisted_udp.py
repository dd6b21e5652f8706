"""Twisted's side of udp.rs: `twisted_udp.py serve`, `twisted_udp.py ask HOST PORT COUNT`, or
`twisted_udp.py member GROUP`."""

import sys

# What takes a third of the start, and is not used here.
sys.modules["OpenSSL"] = None

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


CYCLE = bytes(n * 7 % 256 for n in range(256))


def note(what):
    print(what, flush=True)


class Echo(DatagramProtocol):
    def startProtocol(self):
        note(f"listening on 127.0.0.1:{self.transport.getHost().port}")

    def datagramReceived(self, data, addr):
        self.transport.write(data, addr)


class Ask(DatagramProtocol):
    """Sends datagrams of growing sizes, one after another, and compares what comes back."""

    def __init__(self, host, port, count):
        self.to = host, port
        self.count = count
        self.done = 0

    def startProtocol(self):
        self.transport.connect(*self.to)
        self.ask()

    def ask(self):
        size = self.done * 65507 // max(self.count - 1, 1)
        self.sent = (CYCLE * (size // 256 + 2))[self.done % 256 :][:size]
        self.transport.write(self.sent)

    def datagramReceived(self, data, addr):
        if data != self.sent or addr != self.to:
            note(f"wrong answer to {self.done}, from {addr}")
            return reactor.stop()
        self.done += 1
        if self.done == self.count:
            note(f"{self.done} of {self.count}")
            return reactor.stop()
        self.ask()


class Member(DatagramProtocol):
    """Joins a group on the loopback interface, and answers."""

    def __init__(self, group):
        self.group = group

    def startProtocol(self):
        joined = self.transport.joinGroup(self.group, "127.0.0.1")
        port = self.transport.getHost().port
        joined.addCallback(lambda _: note(f"listening on {self.group}:{port}"))

    def datagramReceived(self, data, addr):
        self.transport.write(b"Twisted heard " + data, addr)


if sys.argv[1] == "serve":
    reactor.listenUDP(0, Echo(), "127.0.0.1", maxPacketSize=65536)
elif sys.argv[1] == "ask":
    ask = Ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    reactor.listenUDP(0, ask, "127.0.0.1", maxPacketSize=65536)
else:
    reactor.listenMulticast(0, Member(sys.argv[2]))
reactor.run()
