"""The embedded object store: SeaweedFS's `weed mini` on loopback."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from lift_core.stack.ports import HOST


def weed_command(data: Path, ports: Mapping[str, int]) -> list[str]:
    """Command line of the server; its gRPC ports are the HTTP ports plus 10,000.

    Telemetry, WebDAV, the admin pages and the table catalogues are off: nobody needs them here.
    """
    return [
        str(Path(sys.executable).with_name("weed")),
        "mini",
        f"-dir={data}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-s3.port={ports['s3']}",
        f"-master.port={ports['s3-master']}",
        f"-volume.port={ports['s3-volume']}",
        f"-filer.port={ports['s3-filer']}",
        f"-admin.port={ports['s3-admin']}",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-s3.allowDeleteBucketNotEmpty=false",
    ]


def weed_environment(access_key: str, secret_key: str) -> dict[str, str]:
    """Variables that give the server its one identity; secrets stay off the command line."""
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        # A soft limit for Go's collector: the machine is shared with the models. Too near to what is needed
        # (some 200 MiB) it collects without pause: at 256 MiB that took a fifth of a core.
        "GOMEMLIMIT": "1GiB",
    }
