"""The HTTP side of the server: a connection that sends no request is not held open."""

from uvicorn.protocols.http.h11_impl import H11Protocol

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain\r\n"
    b"content-length: 41\r\n\r\nThe request's headers did not come whole."
)


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, which waits for the headers of the first request for ever, less so."""

    patience_s = 30.0

    @classmethod
    def with_patience(cls, patience_s):
        """Return the class with another number of seconds."""
        return type(cls.__name__, (cls,), {"patience_s": patience_s})

    def connection_made(self, transport):
        """Begin to wait."""
        super().connection_made(transport)
        self._late = self.loop.call_later(self.patience_s, self._give_up)

    def connection_lost(self, exc):
        """End waiting."""
        self._late.cancel()
        super().connection_lost(exc)

    def _give_up(self):
        if self.cycle is None and not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()
