"""The flags that protect an API server, made from ``cluster.access_options``: one a field.

They are made when somebody asks for them: importing what they come from takes longer than all of ``knarr --help``.

Neighbours: ``main`` has the command.
"""

from __future__ import annotations

from typing import Any

import click

__all__ = ["AccessCommand"]


class AccessCommand(click.Command):
    """A command that has those flags as well as its own; its function gets them as ``access``."""

    _own: list[click.Parameter]
    _made: list[click.Parameter] | None = None

    @property
    def params(self) -> list[click.Parameter]:
        if self._made is None:
            self._made = [*self._own, *_flags()]
        return self._made

    @params.setter
    def params(self, own: list[click.Parameter]) -> None:
        self._own = own

    def invoke(self, ctx: click.Context) -> Any:
        from knarr.cluster.access_options import FLAGS, AccessOptions

        chosen = {name: ctx.params.pop(name) for name in FLAGS}
        lists = {name: list(value) for name, value in chosen.items() if isinstance(value, tuple)}
        ctx.params["access"] = AccessOptions(**{**chosen, **lists})
        return super().invoke(ctx)


def _flags() -> list[click.Parameter]:
    from knarr.cluster.access_options import FLAGS, AccessOptions

    defaults = AccessOptions()
    made: list[click.Parameter] = []
    for name, text in FLAGS.items():
        default = getattr(defaults, name)
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            made.append(click.Option([flag], type=bool, default=default, show_default=True, help=text))
        elif isinstance(default, list):
            made.append(click.Option([flag], multiple=True, default=default, help=text))
        else:
            kind = type(default)
            made.append(click.Option([flag], type=kind, default=default, show_default=bool(default), help=text))
    return made
