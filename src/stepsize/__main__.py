"""``python -m stepsize`` is the command ``stepsize``."""

from __future__ import annotations

from stepsize.cli import main

if __name__ == "__main__":
    main()
