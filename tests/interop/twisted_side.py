"""Twisted's side of tcp.rs: `twisted_side.py serve`, or `twisted_side.py talk ADDRESS STEP...`.

Both print what happens to them, a line each.
"""

import sys

# What takes a third of the start, and is not used here.
sys.modules["OpenSSL"] = None

from twisted.internet import reactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Factory
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer


def note(what):
    print(what, flush=True)


@implementer(IHalfCloseableProtocol)
class Noting(LineReceiver):
    """Notes how its connection ends."""

    def readConnectionLost(self):
        note("reading is over")
        self.reading_over()

    def writeConnectionLost(self):
        note("writing is over")

    def connectionLost(self, reason):
        note(f"lost {reason.type.__name__}")


class Echo(Noting):
    """Echoes lines, but for those that tell it how to end."""

    def lineReceived(self, line):
        if line == b"lose":
            self.sendLine(b"last words")
            self.transport.loseConnection()
        elif line == b"half":
            self.sendLine(b"last words")
            self.transport.loseWriteConnection()
        elif line == b"abort":
            self.transport.abortConnection()
        elif line.startswith(b"note "):
            note(line[5:].decode())
        else:
            self.sendLine(line)

    def reading_over(self):
        self.sendLine(b"after your end")
        self.transport.loseConnection()


class Talk(Noting):
    """Takes steps: `hear LINE`, `say LINE`, `half`, `end` (wait for the other's), `lose`."""

    def connectionMade(self):
        self.steps = sys.argv[3:]
        self.go_on()

    def go_on(self, happened=None):
        if happened is not None and self.steps and self.steps[0] == happened:
            del self.steps[0]
        while self.steps:
            verb, _, line = self.steps[0].partition(" ")
            if verb in ("hear", "end"):
                return
            del self.steps[0]
            if verb == "say":
                self.sendLine(line.encode())
            elif verb == "half":
                self.transport.loseWriteConnection()
            elif verb == "lose":
                self.transport.loseConnection()

    def lineReceived(self, line):
        note(f"hear {line.decode()}")
        self.go_on(f"hear {line.decode()}")

    def reading_over(self):
        self.go_on("end")

    def connectionLost(self, reason):
        super().connectionLost(reason)
        reactor.stop()


class Talks(ClientFactory):
    protocol = Talk

    def clientConnectionFailed(self, connector, reason):
        note(f"failed {reason.type.__name__}")
        reactor.stop()


if sys.argv[1] == "serve":
    port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
    note(f"listening on 127.0.0.1:{port.getHost().port}")
else:
    host, port = sys.argv[2].rsplit(":", 1)
    reactor.connectTCP(host, int(port), Talks())
reactor.run()
