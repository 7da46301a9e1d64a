"""``python -m lbctl``."""

from lbctl.cli.main import main

main()
