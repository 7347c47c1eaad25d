"""Flags made from a struct of options, one a field: those that protect an API server, and those of an election.

They are made when somebody asks for them: importing what they come from takes longer than all of ``knarr --help``.

Neighbours: ``main`` has the commands; ``cluster.access_options`` and ``cluster.election`` have the structs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import click

__all__ = ["AccessCommand", "ControllerManagerCommand", "SchedulerCommand"]


class StructCommand(click.Command):
    """A command that has a struct's flags as well as its own; its function gets the struct as ``argument``."""

    argument: ClassVar[str]
    _own: list[click.Parameter]
    _made: list[click.Parameter] | None = None

    @staticmethod
    def defaults() -> tuple[Any, Mapping[str, str]]:
        """The struct as it is without a flag, and the help of each flag."""
        raise NotImplementedError

    @property
    def params(self) -> list[click.Parameter]:
        if self._made is None:
            self._made = [*self._own, *_flags(*self.defaults())]
        return self._made

    @params.setter
    def params(self, own: list[click.Parameter]) -> None:
        self._own = own

    def invoke(self, ctx: click.Context) -> Any:
        from msgspec.structs import replace

        defaults, flags = self.defaults()
        chosen = {name: ctx.params.pop(name) for name in flags}
        lists = {name: list(value) for name, value in chosen.items() if isinstance(value, tuple)}
        ctx.params[self.argument] = replace(defaults, **{**chosen, **lists})
        return super().invoke(ctx)


class AccessCommand(StructCommand):
    argument = "access"

    @staticmethod
    def defaults() -> tuple[Any, Mapping[str, str]]:
        from knarr.cluster.access_options import FLAGS, AccessOptions

        return AccessOptions(), FLAGS


class ControllerManagerCommand(StructCommand):
    argument = "election"

    @staticmethod
    def defaults() -> tuple[Any, Mapping[str, str]]:
        from knarr.cluster.election import CONTROLLER_MANAGER, FLAGS, ElectionOptions

        return ElectionOptions(CONTROLLER_MANAGER), FLAGS


class SchedulerCommand(StructCommand):
    argument = "election"

    @staticmethod
    def defaults() -> tuple[Any, Mapping[str, str]]:
        from knarr.cluster.election import FLAGS, SCHEDULER, ElectionOptions

        return ElectionOptions(SCHEDULER), FLAGS


def _flags(defaults: Any, helps: Mapping[str, str]) -> list[click.Parameter]:
    made: list[click.Parameter] = []
    for name, text in helps.items():
        default = getattr(defaults, name)
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            # As Go's: the flag alone means yes.
            made.append(
                click.Option(
                    [flag], type=bool, is_flag=False, flag_value="true", default=default, show_default=True, help=text
                )
            )
        elif isinstance(default, list):
            made.append(click.Option([flag], multiple=True, default=default, help=text))
        else:
            kind = type(default)
            made.append(click.Option([flag], type=kind, default=default, show_default=bool(default), help=text))
    return made
