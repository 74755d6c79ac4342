"""Stands in for the extension pg_tiktoken: functions of the same names, arguments and answers, in PL/Python.

They count with tiktoken itself, by the vocabularies of this project, on the Python inside the server. What that needs
is copied to a folder that the server's account can read. A server without the language, or a Python for which no
tiktoken is at hand, skips like a missing Postgres.
"""

import os
import pickle
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Literal

from tests.postgres import Cluster, unavailable
from tokenward.engine.tokenizers.encodings import load_encoding, piece_pattern
from tokenward.storage.postgres.pg_tiktoken import OFFERED_ENCODINGS

PATH = "TOKENWARD_TEST_PLPYTHON_PATH"
PACKAGES = ("tiktoken", "tiktoken_ext", "regex")

FUNCTIONS = """
CREATE FUNCTION tiktoken_encode(encoding_selector text, body text) RETURNS bigint[] LANGUAGE plpython3u STRICT AS $$
    if encoding_selector not in GD:
        import os, pickle, sys
        if {folder} not in sys.path:
            sys.path.insert(0, {folder})
        import tiktoken
        if encoding_selector not in os.listdir({folder} + "/encodings"):
            plpy.error("'%s': unknown model or encoder" % encoding_selector)
        with open({folder} + "/encodings/" + encoding_selector, "rb") as file:
            GD[encoding_selector] = tiktoken.Encoding(encoding_selector, **pickle.load(file))
    return GD[encoding_selector].encode(body, allowed_special="all")
$$;
CREATE FUNCTION tiktoken_count(encoding_selector text, body text) RETURNS bigint LANGUAGE sql STRICT
    RETURN cardinality(tiktoken_encode(encoding_selector, body));
"""


@contextmanager
def functions_folder(cluster: Cluster) -> Generator[Path]:
    """A folder with all that the functions need; skips where the server cannot have them."""
    folder = Path(tempfile.mkdtemp(prefix="tokenward-plpython-"))
    try:
        packages = packages_for(_server_python(cluster.url()))
        for name in PACKAGES:
            shutil.copytree(packages / name, folder / name)
        (folder / "encodings").mkdir()
        for name in OFFERED_ENCODINGS:
            (folder / "encodings" / name).write_bytes(pickle.dumps(_parts(name)))
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


def create_functions(url: str, folder: Path) -> None:
    """Make the functions in the URL's schema, and see that they work."""
    with psycopg.connect(url) as connection:
        connection.execute(SQL(FUNCTIONS).format(folder=Literal(str(folder))))
        try:
            connection.execute("SELECT tiktoken_count('cl100k_base', 'Hello world')")
        except psycopg.Error as error:
            unavailable(f"the Python inside it cannot load tiktoken: {error.diag.message_primary}")


def _parts(name: str) -> dict[str, object]:
    encoding = load_encoding(name)
    return {
        "pat_str": piece_pattern(name),
        "mergeable_ranks": encoding._mergeable_ranks,  # pyright: ignore[reportPrivateUsage]
        "special_tokens": {token: encoding.encode_single_token(token) for token in encoding.special_tokens_set},
    }


def _server_python(url: str) -> str:
    """The version of the Python inside the server, as in ``3.11``. Makes the language."""
    try:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS plpython3u")
            connection.execute("""
                CREATE FUNCTION pg_temp.version() RETURNS text LANGUAGE plpython3u
                AS $$ import sys; return "%d.%d" % sys.version_info[:2] $$
            """)
            row = connection.execute("SELECT pg_temp.version()").fetchone()
    except psycopg.Error as error:
        unavailable(f"the language plpython3u is needed (Debian: postgresql-plpython3-15 for Postgres 15). {error}")
    return str(row and row[0])


def packages_for(version: str) -> Path:
    """A folder with tiktoken for that Python: this environment's own, or the one that is named."""
    named = os.environ.get(PATH)
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        folder = Path(sysconfig.get_path("platlib"))
    elif named:
        folder = Path(named)
    else:
        unavailable(f"its Python is {version}, ours is not; name site-packages with tiktoken for {version} in {PATH}.")
    missing = [name for name in PACKAGES if not (folder / name).is_dir()]
    if missing:
        unavailable(f"{', '.join(missing)} not found in {folder}.")
    return folder
