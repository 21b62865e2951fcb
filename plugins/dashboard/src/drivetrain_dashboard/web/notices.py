"""What an action has answered, for the page that follows it. Kept in this process for some minutes.

The address of the page holds a random key and not the text: nobody can send an operator a link that shows another text.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

from attrs import frozen

__all__ = ["Notice", "Notices"]

_MOST = 200


@frozen(kw_only=True)
class Notice:
    """An answer. Immutable.

    Attributes:
        text: what was done, or why it was not.
        done: whether it was done.
        operation: the id of the operation that goes on in the background; empty: there is none.
        task_id: the id of the task that was sent; empty: none was.
        viewer: the name of the viewer to whom it is shown.
    """

    text: str
    done: bool
    operation: str = ""
    task_id: str = ""
    viewer: str = ""


class Notices:
    """The last answers. For one thread."""

    def __init__(self) -> None:
        self._notices: OrderedDict[str, Notice] = OrderedDict()

    def add(self, notice: Notice) -> str:
        """Keep an answer; its key."""
        key = secrets.token_urlsafe(9)
        self._notices[key] = notice
        while len(self._notices) > _MOST:
            self._notices.popitem(last=False)
        return key

    def get(self, key: str, viewer: str) -> Notice | None:
        """The answer of this key for a viewer; None: there is none (any more)."""
        notice = self._notices.get(key)
        return notice if notice is not None and notice.viewer == viewer else None
