"""What a sweep tells: a line of text, and the same as fields for a program."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from analysis.records.address import without_password
from analysis.records.printable import printable

# failed: a trial has failed. lost: it will run again from its checkpoint. store_silent, store_answers: the tracking
# store. ended: the sweep, also if it was interrupted.
Event = Literal["failed", "lost", "store_silent", "store_answers", "ended"]
Fields = Mapping[str, str | int | float | None]
# Discord takes 2000 characters.
LONGEST_TEXT = 1500


@dataclass(frozen=True)
class Message:
    """One event of a sweep. what: the event in words. fields: the same for a program."""

    event: Event
    sweep: str
    task: str
    what: str
    fields: Fields

    @property
    def title(self) -> str:
        """Of what the message tells: the sweep, its task and this host."""
        return f"{self.sweep} on {self.task} ({socket.gethostname()})"

    @property
    def body(self) -> str:
        """The event in one line, without passwords."""
        return without_password(printable(self.what))[:LONGEST_TEXT]

    def as_json(self) -> dict[str, str | int | float | None]:
        """Return all of it. Slack and Mattermost show 'text', Discord 'content'."""
        text = f"{self.title}: {self.body}"
        known = {"event": self.event, "sweep": self.sweep, "task": self.task, "host": socket.gethostname()}
        fields = {name: _plain(value) for name, value in self.fields.items()}
        return {"text": text, "content": text, **known, **fields}


def _plain(value: str | int | float | None) -> str | int | float | None:
    return without_password(printable(value))[:LONGEST_TEXT] if isinstance(value, str) else value
