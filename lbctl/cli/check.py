"""``lbctl check``: is this file good, and what would it mean?"""

from __future__ import annotations

from pathlib import Path

import click

from lbctl.config.describe import describe
from lbctl.config.loader import load


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check the configuration FILE and say what it declares. All mistakes are listed, each with its line and a hint."""
    declaration = load(file)
    click.echo("\n".join(describe(declaration)))
    click.echo(f"{file}: good")
