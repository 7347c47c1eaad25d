"""The static token file: lines of ``token,user,uid`` and, quoted, groups separated by commas.

Upstream's counterpart is ``apiserver/pkg/authentication/token/tokenfile``, its flag ``--token-auth-file``.
"""

from __future__ import annotations

import csv
import io

from knarr.apiserver.request import UserInfo
from knarr.kit.log import get_logger

__all__ = ["read_token_file"]

log = get_logger("token-file")

MIN_COLUMNS = 3


def read_token_file(path: str, text: str) -> dict[str, UserInfo]:
    """The users by their tokens. Raises ``ValueError`` for a line with too few columns."""
    users: dict[str, UserInfo] = {}
    for number, record in enumerate(csv.reader(io.StringIO(text), skipinitialspace=True), start=1):
        if not record:
            continue
        if len(record) < MIN_COLUMNS:
            raise ValueError(
                f"token file '{path}' must have at least 3 columns (token, user name, user uid), found {len(record)}"
            )
        token, name, uid = record[:MIN_COLUMNS]
        if not token:
            log.warning("empty token skipped", file=path, record=number)
            continue
        if token in users:
            log.warning("duplicate token", file=path, record=number)
        groups = [group.strip() for group in record[3].split(",")] if len(record) > MIN_COLUMNS and record[3] else []
        users[token] = UserInfo(name, tuple(groups), uid)
    return users
