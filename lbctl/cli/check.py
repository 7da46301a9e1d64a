"""``lbctl check``: is this file good, and what would it mean?"""

from __future__ import annotations

from pathlib import Path

import click

from lbctl.cli.options import PATH
from lbctl.config.describe import describe, warnings
from lbctl.config.loader import load
from lbctl.config.reference import reference


@click.command()
@click.argument("file", type=PATH, required=False)
@click.option(
    "--reference", "wants_reference", is_flag=True, help="Print every key a file may have (Markdown), and end."
)
def check(file: Path | None, wants_reference: bool) -> None:
    """Check the configuration FILE and say what it declares. What is wrong is listed, with line and hint; what follows from
    a value that cannot be read is seen when that is corrected.

    A warning tells a consequence of what is declared; the file is good all the same."""
    if wants_reference:
        click.echo(reference())
        return
    if file is None:
        raise click.UsageError("name the FILE to check, or ask for the --reference")
    declaration = load(file)
    click.echo("\n".join(describe(declaration)))
    # Beside the summary, not in it: whoever keeps the summary in a file still reads the warnings.
    for warning in warnings(declaration):
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{file}: good")
