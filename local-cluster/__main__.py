"""`python3 local-cluster COMMAND`: runs the local cluster's commands without an installed package or a virtual environment."""

from localcluster.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
