"""`python3 local-cluster COMMAND`: the local cluster, without an installed package or a virtual environment."""

from localcluster.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
