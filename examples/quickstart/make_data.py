"""Writes the UCI handwritten digits as one CSV file: ``python make_data.py OUTDIR`` makes ``OUTDIR/train.csv``.

The digits lie in scikit-learn's wheel, which must be installed (``pip install --no-deps scikit-learn`` is enough: the
file is read, the library is not imported). The bytes written are the same on every machine.

Format: a header ``pixel_0,...,pixel_63,label``; then 1,797 lines of 64 pixels from 0 to 16 and the label from 0 to 9.
Source: https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits
"""

import gzip
import importlib.util
import sys
from pathlib import Path

ROWS, COLUMNS = 1797, 65


def digits_csv() -> bytes:
    """The content of ``train.csv``."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("scikit-learn is not installed: pip install --no-deps scikit-learn")
    source = Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    with gzip.open(source, "rt") as lines:
        rows = [[int(float(number)) for number in line.split(",")] for line in lines]
    if len(rows) != ROWS or any(len(row) != COLUMNS for row in rows):
        raise SystemExit(f"{source} does not hold {ROWS} rows of {COLUMNS} numbers: another scikit-learn may")
    header = ",".join([*(f"pixel_{i}" for i in range(COLUMNS - 1)), "label"])
    return "\n".join([header, *(",".join(map(str, row)) for row in rows), ""]).encode()


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} OUTDIR")
    target = Path(sys.argv[1], "train.csv")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(digits_csv())
    print(f"{target}: {ROWS} digits")


if __name__ == "__main__":
    main()
