"""Optional dependencies: import a package that an extra installs, or say how to install it."""

import importlib
import importlib.util
from types import ModuleType


def require(package: str, purpose: str, extra: str, otherwise: str = "") -> ModuleType:
    """Import an optional package.

    Args:
        package: dotted name to import.
        purpose: what needs it; begins the message.
        extra: of artist-features, which installs it.
        otherwise: what to do instead, for the end of the message.

    Raises:
        ImportError: it is not installed or cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        text = f"{purpose} needs {package.partition('.')[0]} ({error}); install it with "
        lite = "" if importlib.util.find_spec("tensorflow") else "-lite"
        text += f"`pip install 'artist-features{lite}[{extra}]'`{otherwise}."
        raise ImportError(text) from None
