"""Twisted's IRC client: reads lines of a server from standard input, in hexadecimal, and prints the hooks that
each one calls: the name and the arguments in hexadecimal, with `;` between hooks.

A line `new` begins another client.
"""

import sys

# What takes a third of the start, and is not used here.
sys.modules["OpenSSL"] = None

from twisted.internet.testing import StringTransport
from twisted.words.protocols import irc


def shown(value):
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(shown(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).encode("utf-8").hex()


HOOKS = """signedOn joined left userJoined userLeft userQuit userRenamed privmsg noticed action kickedFrom userKicked
nickChanged topicUpdated modeChanged receivedMOTD created yourHost bounce""".split()

called = []


def hook(name):
    def note(self, *args):
        called.append(" ".join([name] + [shown(arg) for arg in args]))
        if name == "nickChanged":
            self.nickname = args[0]

    return note


Noting = type("Noting", (irc.IRCClient,), {name: hook(name) for name in HOOKS})


def client():
    noting = Noting()
    noting.nickname = "me"
    noting.heartbeatInterval = None
    noting.makeConnection(StringTransport())
    noting.dataReceived(b":here 001 me :Welcome\r\n")
    called.clear()
    return noting


noting = client()
for line in sys.stdin:
    line = line.strip()
    if line == "new":
        noting = client()
    else:
        noting.dataReceived(bytes.fromhex(line) + b"\r\n")
    nick = shown(noting.nickname)
    print(";".join(called) + "|" + nick)
    called.clear()
