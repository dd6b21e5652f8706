"""Twisted's framing: reads streams from standard input, a line each, and prints what comes of them.

A line is KIND LIMIT PIECE,PIECE,... with the pieces in hexadecimal. What is printed is the frames in
hexadecimal, `;`, and `refused` or `open`.
"""

import sys

# What takes a third of the start, and is not used here.
sys.modules["OpenSSL"] = None

from twisted.internet.testing import StringTransport
from twisted.protocols import basic


def protocol_of(kind, limit):
    base = {
        "lines": basic.LineReceiver,
        "only": basic.LineOnlyReceiver,
        "netstrings": basic.NetstringReceiver,
        "int8": basic.Int8StringReceiver,
        "int16": basic.Int16StringReceiver,
        "int32": basic.Int32StringReceiver,
    }[kind]

    class Noting(base):
        MAX_LENGTH = limit

        def lineReceived(self, line):
            frames.append(line.hex())

        stringReceived = lineReceived

    frames = []
    return Noting(), frames


for line in sys.stdin:
    kind, limit, pieces = line.rstrip("\n").split(" ")
    protocol, frames = protocol_of(kind, int(limit))
    transport = StringTransport()
    protocol.makeConnection(transport)
    for piece in pieces.split(","):
        if not transport.disconnecting:
            protocol.dataReceived(bytes.fromhex(piece))
    print(",".join(frames) + (";refused" if transport.disconnecting else ";open"))
