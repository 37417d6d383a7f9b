"""``firesteel``: the application that the commands belong to."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel._version import __version__
from firesteel.cli.commands.analyze import analyze
from firesteel.cli.commands.augment import augment
from firesteel.cli.commands.doctor import doctor
from firesteel.cli.commands.evaluate import evaluate
from firesteel.cli.commands.export import export
from firesteel.cli.commands.export_images import export_images
from firesteel.cli.commands.features import features
from firesteel.cli.commands.import_ import import_
from firesteel.cli.commands.index import index
from firesteel.cli.commands.merge import merge
from firesteel.cli.commands.models import models, summary
from firesteel.cli.commands.predict import predict
from firesteel.cli.commands.prepare import prepare
from firesteel.cli.commands.similar import similar
from firesteel.cli.commands.train import train
from firesteel.cli.commands.transform import transform
from firesteel.cli.commands.watch import watch
from firesteel.cli.settings import SettingsCommand

app = typer.Typer(
    name="firesteel",
    help="PyTorch training on Apache Spark: from raw images and tables to an evaluated network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"firesteel {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(analyze)
app.command()(prepare)
app.command()(augment)
app.command()(merge)
app.command()(export_images)
app.command()(transform)
app.command(cls=SettingsCommand)(train)
app.command("import")(import_)
app.command()(features)
app.command()(evaluate)
app.command()(predict)
app.command()(export)
app.command()(index)
app.command()(similar)
app.command()(watch)
app.command()(models)
app.command()(summary)
app.command()(doctor)


def run() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    run()
