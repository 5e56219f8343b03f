"""`python -m edgekit`, and what the command `edgekit` calls."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; Ctrl-C is heard while its modules are imported too."""
    try:
        from edgekit.cli.app import main as command

        command()
    except KeyboardInterrupt:
        print("edgekit: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
