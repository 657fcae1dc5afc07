"""Puts a file into an S3 bucket: ``python upload.py FILE s3://BUCKET/KEY``; makes the bucket if there is none.
``python upload.py s3://BUCKET/`` makes the bucket only.

Where and with which keys: SLIPWAY_S3_ENDPOINT, SLIPWAY_S3_ACCESS_KEY, SLIPWAY_S3_SECRET_KEY (``make env`` prints
those of the local cluster). Any S3 client does the same; this one needs nothing but the ``minio`` package.
"""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from minio import Minio


def main() -> None:
    *files, uri = sys.argv[1:] or [""]
    if len(files) > 1 or not uri.startswith("s3://"):
        raise SystemExit(f"usage: {sys.argv[0]} [FILE] s3://BUCKET/KEY")
    target = urlsplit(uri)
    try:
        endpoint = urlsplit(os.environ["SLIPWAY_S3_ENDPOINT"])
        keys = os.environ["SLIPWAY_S3_ACCESS_KEY"], os.environ["SLIPWAY_S3_SECRET_KEY"]
    except KeyError as missing:
        raise SystemExit(f'{missing} is not set: eval "$(make -s env)" sets it for the local cluster') from None
    store = Minio(endpoint.netloc, *keys, secure=endpoint.scheme == "https")
    if not store.bucket_exists(target.netloc):
        store.make_bucket(target.netloc)
        print(f"made the bucket {target.netloc}")
    for source in files:
        store.fput_object(target.netloc, target.path.lstrip("/"), source)
        print(f"{source} -> {uri}: {Path(source).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
