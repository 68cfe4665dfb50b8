"""Read a pickle that holds nothing but lists of strings, and run nothing.

A pickle is a small program. This reader knows the few instructions that build lists and
strings and refuses every other one at the byte where it stands: nothing is imported,
called or looked up. A list that is used twice, or inside itself, is refused too, so what
is built is a tree that is no larger than its file.
"""

import io
import pickletools

from artist_features.errors import ManifestError

MAX_BYTES = 64 << 20  # own choice: the list of all 351 820 tracks has about 10 MB
MAX_STEPS = 4_000_000  # own choice: that list takes about three for each track

_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # as Python 2 wrote them
_STRINGS |= {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_LISTS = {"MARK", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"}
_KNOWN = _STRINGS | _PUTS | _GETS | _LISTS | {"PROTO", "FRAME", "STOP"}


def read_strings(path):
    """Read the strings of a pickled list, lists inside it joined in their order.

    Args:
        path: of a pickle of protocol 0 to 5, written by Python 2 or 3.

    Returns:
        list of `str`; one from Python 2 has a character for each byte.

    Raises:
        ManifestError: the file cannot be read, is too large, is not a whole pickle, or
            holds anything but lists and strings.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"cannot be read ({error.strerror}).", path) from None
    if len(data) > MAX_BYTES:
        text = f"more than {MAX_BYTES} bytes, which no list of tracks has; check the path."
        raise ManifestError(text, path)
    builder = _Builder(data)
    try:
        return _flat(builder.run())
    except ValueError as error:  # ours, and those of the standard library's readers
        raise ManifestError(
            f"byte {builder.at}: {str(error)[:200]}; a pickle of nothing but lists of strings "
            "is needed.",
            path,
        ) from None


class _Builder:
    """Follow a pickle's instructions one by one.

    Attributes:
        at: position in bytes of the instruction that is followed.
    """

    def __init__(self, data):
        self.at = 0
        self._size = len(data)
        self._stream = io.BytesIO(data)
        self._stack = []
        self._marks = []  # heights of the stack
        self._memo = {}

    def run(self):
        """Return the list that the pickle holds; a ValueError says why not."""
        for _ in range(MAX_STEPS):
            name, argument = self._next()
            if name == "STOP":
                return self._result()
            if name in _STRINGS:
                self._stack.append(argument)
            elif name in _PUTS:
                self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._top()
            elif name in _GETS:
                self._stack.append(self._remembered(argument))
            elif name in _LISTS:
                self._follow(name)
        raise ValueError(f"more than {MAX_STEPS} instructions")

    def _next(self):
        self.at = self._stream.tell()
        code = self._stream.read(1)
        if not code:
            raise ValueError("the file ends too soon")
        opcode = pickletools.code2op.get(code.decode("latin-1"))
        if opcode is None or opcode.name not in _KNOWN:
            found = repr(code)[1:] if opcode is None else opcode.name
            raise ValueError(f"instruction {found} is refused")
        return opcode.name, opcode.arg.reader(self._stream) if opcode.arg else None

    def _follow(self, name):
        if name == "MARK":
            self._marks.append(len(self._stack))
        elif name == "EMPTY_LIST":
            self._stack.append([])
        elif name == "LIST":
            self._stack.append(self._behind_mark())
        else:
            items = self._behind_mark() if name == "APPENDS" else [self._top()]
            if name == "APPEND":
                self._stack.pop()
            target = self._top()
            if not isinstance(target, list):
                raise ValueError(f"{name} to a string")
            target.extend(items)

    def _top(self):
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError("a value is missing")
        return self._stack[-1]

    def _behind_mark(self):
        if not self._marks:
            raise ValueError("a mark is missing")
        height = self._marks.pop()
        items = self._stack[height:]
        del self._stack[height:]
        return items

    def _remembered(self, key):
        value = self._memo.get(key)
        if not isinstance(value, str):
            raise ValueError(f"{'a list' if value is not None else 'nothing'} is used again")
        return value

    def _result(self):
        if self._stream.tell() != self._size:
            raise ValueError(f"{self._size - self._stream.tell()} bytes follow the end")
        if self._marks or len(self._stack) != 1 or not isinstance(self._stack[0], list):
            raise ValueError("the result is not one list")
        return self._stack[0]


def _flat(tree):
    """Return the strings of nested lists in order, however deep, without recursion."""
    strings, pending = [], [iter(tree)]
    while pending:
        for item in pending[-1]:
            if isinstance(item, list):
                pending.append(iter(item))
                break
            strings.append(item)
        else:
            pending.pop()
    return strings
