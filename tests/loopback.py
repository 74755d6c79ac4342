"""Loopback in a network namespace of its own (``unshare -n``), where it is down until somebody raises it."""

import socket
import struct
import sys
from contextlib import suppress

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS and IFF_UP of Linux
_REQUEST = struct.Struct("16sH22x")  # struct ifreq: the interface's name and its flags


def raise_loopback() -> None:
    """Raise the loopback interface if it is down and this process may; the network stays cut off."""
    if sys.platform != "linux":
        return
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, suppress(OSError):
        answer = fcntl.ioctl(any_socket, _GET_FLAGS, _REQUEST.pack(b"lo", 0))
        name, flags = _REQUEST.unpack(answer)
        if not flags & _UP:
            fcntl.ioctl(any_socket, _SET_FLAGS, _REQUEST.pack(name, flags | _UP))
