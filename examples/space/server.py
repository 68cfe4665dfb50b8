"""The HTTP side of the server: a connection that sends no request is not held open."""

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain\r\n"
    b"content-length: 30\r\n\r\nThe request did not come whole"
)


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, which waits for ever for the rest of a request's headers, less so.

    The same holds for each later request of a connection, and for a body that is still to
    come though the request was answered. A body that the app reads, it has to time itself.
    """

    patience_s = 30.0
    _late = None

    @classmethod
    def with_patience(cls, patience_s):
        """Return the class with another number of seconds."""
        return type(cls.__name__, (cls,), {"patience_s": patience_s})

    def connection_made(self, transport):
        """Begin to wait."""
        super().connection_made(transport)
        self._wait(True)

    def data_received(self, data):
        """Take bytes; wait for the others of a request."""
        super().data_received(data)
        self._wait(self._has_half_a_request())

    def on_response_complete(self):
        """Go on with what came meanwhile."""
        super().on_response_complete()
        self._wait(self._has_half_a_request())

    def connection_lost(self, exc):
        """End waiting."""
        self._wait(False)
        super().connection_lost(exc)

    def _has_half_a_request(self):
        if self.cycle is not None and not self.cycle.response_complete:
            return False  # the app is at work
        # between two requests there are no bytes, and uvicorn's own timer
        return self.conn.their_state is not h11.IDLE or bool(self.conn.trailing_data[0])

    def _wait(self, waits):
        """Wait from now on, or go on waiting, or end it."""
        if not waits and self._late is not None:
            self._late.cancel()
            self._late = None
        elif waits and self._late is None:
            self._late = self.loop.call_later(self.patience_s, self._give_up)

    def _give_up(self):
        if not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()
