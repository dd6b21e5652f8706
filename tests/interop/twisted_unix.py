"""Twisted's side of unix.rs. Prints what happens, a line each.

`serve PATH WANT_PID`: echoes lines; writes into descriptors that it is given; at the line `give` it gives three.
`try PATH`: listens with the lock, and ends.
`talk PATH CHECK_PID`: says `hello`, hears the answer, and ends.
`give PATH`: gives three descriptors, and ends when it is answered.
"""

import os
import sys

# What takes a third of the start, and is not used here.
sys.modules["OpenSSL"] = None

from twisted.internet import reactor
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import ClientFactory, Factory
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer


def note(what):
    print(what, flush=True)


def give(transport):
    for number in range(3):
        reader, writer = os.pipe()
        os.write(writer, b"pipe %d of Twisted" % number)
        os.close(writer)
        transport.sendFileDescriptor(reader)


@implementer(IFileDescriptorReceiver)
class Serve(LineReceiver):
    def fileDescriptorReceived(self, descriptor):
        os.write(descriptor, b"Twisted was here")
        os.close(descriptor)
        note("descriptor")

    def lineReceived(self, line):
        note(f"line {line.decode()}")
        if line == b"give":
            give(self.transport)
        self.sendLine(line)


class Talk(LineReceiver):
    def connectionMade(self):
        note(f"host {self.transport.getHost().name} peer {self.transport.getPeer().name.decode()}")
        if sys.argv[1] == "give":
            give(self.transport)
        self.sendLine(b"hello")

    def lineReceived(self, line):
        note(f"hear {line.decode()}")
        self.transport.loseConnection()

    def connectionLost(self, reason):
        note(f"lost {reason.type.__name__}")
        reactor.stop()


class Client(ClientFactory):
    protocol = Talk

    def clientConnectionFailed(self, connector, reason):
        note(f"failed {reason.type.__name__}")
        reactor.stop()


verb, path = sys.argv[1:3]
if verb == "serve":
    reactor.listenUNIX(path, Factory.forProtocol(Serve), wantPID=sys.argv[3] == "1")
    reactor.callWhenRunning(note, f"listening on unix:{path}")
    reactor.run()
elif verb == "try":
    try:
        reactor.listenUNIX(path, Factory.forProtocol(Serve), wantPID=True)
        note("it listens")
    except Exception as error:
        note(type(error).__name__)
else:
    check = verb == "talk" and sys.argv[3] == "1"
    reactor.callWhenRunning(reactor.connectUNIX, path, Client(), checkPID=check)
    reactor.run()
