"""Where messages go. `pipeline.notify.address` opens a channel."""

from typing import Protocol

from pipeline.notify.message import Message


class DeliveryError(Exception):
    """A message was not delivered. Its text is of our own words, since those of a library may quote the address."""


class Channel(Protocol):
    """Sends messages. shown: the address as it may be printed."""

    shown: str

    def send(self, message: Message) -> None:
        """Deliver the message within some seconds. Raises DeliveryError."""
        ...
