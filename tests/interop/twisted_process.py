"""Twisted's side of processes.rs: `twisted_process.py SCRIPT ACTION SCRIPT ACTION ...`. For each script, one after
another, it prints which hooks came, sorted, and an empty line."""

import sys

# What takes a third of the start, and is not used here.
sys.modules["OpenSSL"] = None

from twisted.internet import reactor
from twisted.internet.protocol import ProcessProtocol


def how(reason):
    value = reason.value
    if value.signal is not None:
        return f"signal {value.signal}"
    return f"code {value.exitCode}"


class Noted(ProcessProtocol):
    def __init__(self, action):
        self.action = action
        self.notes = []
        self.data = {}

    def connectionMade(self):
        self.notes.append("made")
        if self.action == "feed":
            self.transport.write(b"fed")
            self.transport.closeStdin()
        elif self.action == "feed4":
            self.transport.writeToChild(4, b"fed")
            self.transport.closeChildFD(4)
        elif self.action == "lose":
            self.transport.loseConnection()
        elif self.action == "term":
            self.transport.signalProcess("TERM")

    def childDataReceived(self, fd, data):
        self.data[fd] = self.data.get(fd, b"") + data

    def childConnectionLost(self, fd):
        self.notes.append(f"{fd} closed")

    def processExited(self, reason):
        self.notes.append(f"exited with {how(reason)}")

    def processEnded(self, reason):
        for fd, data in self.data.items():
            self.notes.append(f"{fd} says {data.decode().strip()}")
        for note in sorted(self.notes):
            print(note)
        print(f"ended with {how(reason)}\n", flush=True)
        begin()


def begin():
    script, action = next(cases, (None, None))
    if script is None:
        return reactor.stop()
    fds = {3: "r", 4: "w"} if action == "feed4" else {0: "w", 1: "r", 2: "r"}
    reactor.spawnProcess(Noted(action), "/bin/sh", ["sh", "-c", script], env=None, childFDs=fds)


words = iter(sys.argv[1:])
cases = zip(words, words)
reactor.callWhenRunning(begin)
reactor.run()
