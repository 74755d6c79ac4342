"""A real nginx for tests, as an ordinary process with a folder, a port and a certificate of its own.

Without nginx, tests skip and the summary says so; ``TOKENWARD_REQUIRE_NGINX=1`` makes them fail instead.
"""

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.packaging.project import ROOT
from tests.postgres import free_port
from tests.waiting import NET_SECONDS, wait_until

EXAMPLE = ROOT / "docs" / "examples" / "nginx.conf"
NAME = "tokenward.example.com"
REQUIRE = "TOKENWARD_REQUIRE_NGINX"
SKIP = "No nginx for the tests: "

# What a distribution's nginx.conf says around the files of conf.d; here it all stays in the test's folder.
MAIN = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    log_format upstream '$status\t$upstream_addr';
    access_log {folder}/access.log upstream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/tokenward.conf;
}}
"""


def find_program() -> str | None:
    """nginx on the path, or where Debian puts it, which is no part of every account's path."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def program() -> str:
    """nginx; skips when there is none, in a way that the summary shows, or fails where it is required."""
    if found := find_program():
        return found
    reason = f"{SKIP}the program nginx was not found. Install Debian's package nginx."
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but: {reason}", pytrace=False)
    pytest.skip(reason)


@dataclass(frozen=True, slots=True)
class Balancer:
    """A running nginx."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"https://127.0.0.1:{self.port}"

    def client(self) -> httpx2.Client:
        """A client that asks for the example's name at this address, and trusts this certificate only."""
        trust = ssl.create_default_context(cafile=str(self.folder / "certificate.pem"))
        return httpx2.Client(
            base_url=self.url, headers={"Host": NAME}, verify=trust, trust_env=False, timeout=NET_SECONDS
        )

    def requests(self) -> list[tuple[int, str]]:
        """Each request so far: its status and the servers that were asked, ``first, second`` if one was passed over."""
        lines = (self.folder / "access.log").read_text("utf-8").splitlines()
        return [(int(status), servers) for status, _, servers in (line.partition("\t") for line in lines)]


def adapted(folder: Path, port: int, servers: Sequence[int]) -> str:
    """The example with the addresses of here; everything else is as it is."""
    text = EXAMPLE.read_text("utf-8")
    addresses = iter(servers)
    text, count = re.subn(r"server 10\.0\.0\.\d+:\d+", lambda _: f"server 127.0.0.1:{next(addresses)}", text)
    assert count == len(servers)
    for there, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/ssl/tokenward/fullchain.pem", f"{folder}/certificate.pem"),
        ("/etc/ssl/tokenward/privkey.pem", f"{folder}/key.pem"),
    ):
        assert text.count(there) == 1
        text = text.replace(there, here)
    return text


@contextmanager
def balancing(folder: Path, servers: Sequence[int]) -> Generator[Balancer]:
    """nginx with the example's configuration in front of servers on loopback ports, until the end of the block."""
    binary = program()
    balancer = Balancer(folder, free_port())
    make_certificate(folder)
    (folder / "tokenward.conf").write_text(adapted(folder, balancer.port, servers), "utf-8")
    main = folder / "nginx.conf"
    # As root, nginx's workers would be somebody else, who may not enter the test's folder.
    main.write_text(MAIN.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""), "utf-8")
    command = [binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(main)]
    checked = subprocess.run([*command, "-t"], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr, checked.stderr
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        with balancer.client() as client:
            wait_until(lambda: answers(client, process))
        yield balancer
    finally:
        process.terminate()
        process.wait(NET_SECONDS)


def answers(client: httpx2.Client, process: "subprocess.Popen[bytes]") -> bool:
    """Whether nginx itself answers: what is not for the outside, it knows nothing of."""
    assert process.poll() is None, "nginx has ended"
    try:
        return client.get("/").status_code == 404
    except httpx2.TransportError:
        return False


def make_certificate(folder: Path) -> None:
    """A key and a certificate for the example's name and for loopback, good for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    reached_as = [x509.DNSName(NAME), x509.IPAddress(IPv4Address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(reached_as), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
