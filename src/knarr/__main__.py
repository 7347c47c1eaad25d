"""``python -m knarr`` is ``knarr``."""

from knarr.cli.main import main

main()
