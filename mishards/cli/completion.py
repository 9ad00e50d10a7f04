"""``completion``: the script that teaches a shell our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mishards.cli.exits import epilog

_VARIABLE = "_MISHARDS_COMPLETE"


@click.command(
    epilog=epilog(
        "mishards completion bash > ~/.local/share/bash-completion/completions/mishards",
        'mishards completion zsh > "${fpath[1]}/_mishards"',
        "mishards completion fish > ~/.config/fish/completions/mishards.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL."""
    kind = get_completion_class(shell)
    root = context.find_root()
    if kind is not None:
        click.echo(kind(root.command, {}, "mishards", _VARIABLE).source())
