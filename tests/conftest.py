"""What all tests share: helpers that can be imported, and an S3 server."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Several test processes share the cores: waiting OpenMP threads must not spin. Before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Without a GPU, Triton's kernels are interpreted. Before triton loads.
if not any(Path("/dev").glob("nvidia[0-9]*")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """URL of an empty bucket on an S3 server of these tests' own."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem().mkdir("foveal-tests")
        yield "s3://foveal-tests"
    server.stop()
