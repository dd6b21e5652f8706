"""Twisted's side of tls/twisted.rs: `twisted_tls.py serve|talk PLAIN_OR_TLS FILES [PORT]`.

`plain` begins without TLS and starts it when the client says so. FILES is a directory with `ca.pem`
and `rsa.pem`. Both print what happens to them, a line each.
"""

import sys

from twisted.internet import endpoints, reactor, ssl
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

side, how, files = sys.argv[1:4]


def read(name):
    with open(f"{files}/{name}.pem") as file:
        return file.read()


def note(what):
    print(what, flush=True)


authority = ssl.Certificate.loadPEM(read("ca"))
own = ssl.PrivateCertificate.loadPEM(read("rsa"))


class Noting(LineReceiver):
    def connectionLost(self, reason):
        note(f"lost {reason.type.__name__}")
        if side == "talk":
            reactor.stop()


class Echo(Noting):
    def lineReceived(self, line):
        if line == b"start":
            self.sendLine(b"ready")
            self.transport.startTLS(own.options(authority))
        elif line == b"lose":
            self.sendLine(b"last words")
            self.transport.loseConnection()
        elif line == b"abort":
            self.transport.abortConnection()
        else:
            self.sendLine(line)


class Talk(Noting):
    def connectionMade(self):
        self.sendLine(b"start" if how == "plain" else b"hello")

    def lineReceived(self, line):
        note(f"hear {line.decode()}")
        if line == b"ready":
            self.transport.startTLS(options())
            self.sendLine(b"hello")
        elif line == b"hello":
            self.sendLine(b"x" * 10000)
        else:
            self.transport.loseConnection()


def options():
    return ssl.optionsForClientTLS("localhost", trustRoot=authority, clientCertificate=own)


if side == "serve":
    text = "tcp:0:interface=127.0.0.1"
    if how == "tls":
        text = f"ssl:0:interface=127.0.0.1:privateKey={files}/rsa.pem:certKey={files}/rsa.pem"
    listening = endpoints.serverFromString(reactor, text).listen(Factory.forProtocol(Echo))
    listening.addCallback(lambda port: note(f"listening on 127.0.0.1:{port.getHost().port}"))
else:
    endpoint = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{sys.argv[4]}")
    if how == "tls":
        endpoint = endpoints.wrapClientTLS(options(), endpoint)
    connecting = endpoint.connect(Factory.forProtocol(Talk))
    connecting.addErrback(lambda failure: (note(f"failed {failure.type.__name__}"), reactor.stop()))
reactor.run()
