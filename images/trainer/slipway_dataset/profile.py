"""The profile as a document: what people read, and what later data are compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from slipway.contract import DatasetResult, DatasetSpec

from .total import Total
from .verdict import Check

VERSION = 1


def document(spec: DatasetSpec, made: DatasetResult, total: Total, checks: Sequence[Check]) -> bytes:
    """JSON, and the same bytes for the same data, schema and checks: no times, and digits that every machine gives.

    ``quantiles`` are those of a sketch: a rank is off by about 1% of the rows at most, and exact below 256 rows.
    """
    columns = []
    for name, column in total.columns.items():
        described = column.describe(name)
        if total.present[name] < total.readable:
            described["files"] = total.present[name]
        columns.append(described)
    record: dict[str, Any] = {
        "v": VERSION,
        "digest": made.digest,
        "format": spec.format,
        "files": made.files,
        "filesOfFormat": total.files,
        "bytes": made.bytes,
        "rows": total.rows,
        "columns": columns,
        "checks": [
            {"check": each.name, "passed": each.failure is None}
            | ({} if each.failure is None else {"message": each.failure})
            for each in checks
        ],
    }
    if total.columns_left_out:
        record["columnsLeftOut"] = total.columns_left_out
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
