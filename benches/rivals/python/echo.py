"""Echo servers on Twisted, asyncio and uvloop: `echo.py serve CONTENDER ROW`.

Prints the address it listens on. It ends at SIGTERM, and where Linux is asked to send one: when its parent ends.
"""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def serve_twisted():
    from twisted.internet import epollreactor
    epollreactor.install()
    from twisted.internet import protocol, reactor

    class Echo(protocol.Protocol):
        def connectionMade(self):
            self.transport.setTcpNoDelay(True)

        def dataReceived(self, data):
            self.transport.write(data)

    port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), 1024, "127.0.0.1")
    print(f"127.0.0.1:{port.getHost().port}", flush=True)
    reactor.run(installSignalHandlers=False)


def serve_asyncio():
    import asyncio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1024)
        print(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    if sys.argv[2] == "uvloop":
        import uvloop
        uvloop.run(main())
    else:
        asyncio.run(main())


ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
serve_twisted() if sys.argv[2] == "twisted" else serve_asyncio()
