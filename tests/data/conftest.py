"""Stores for tests of this layer: an empty one, and one of every kind of place."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.store import FeatureStore

_NUMBERS = itertools.count()


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """URL of a bucket on an S3 server of this machine."""
    pytest.importorskip("s3fs", reason="needs s3fs, which is not installed")
    moto = pytest.importorskip("moto.server", reason="needs moto[server], which is not installed")
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-of-a-server-for-tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        s3fs.S3FileSystem().mkdir("features")
        yield "s3://features"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["local", "memory", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """An empty store in a place of each kind; unfinished files of all kinds lie below `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if request.param == "local":
        return FeatureStore(tmp_path / "store")
    name = f"store-{next(_NUMBERS)}"
    if request.param == "memory":
        return FeatureStore(f"memory://{name}")
    return FeatureStore(f"{request.getfixturevalue('s3_bucket')}/{name}")
