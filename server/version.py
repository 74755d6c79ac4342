"""Which version this is."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The installed version; a source tree that is not installed has none."""
    try:
        return version("tokenward")
    except PackageNotFoundError:
        return "0+unknown"
