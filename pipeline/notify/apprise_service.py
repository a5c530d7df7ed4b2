"""E-mail, Telegram, Slack and a hundred other services, through Apprise. The only file that imports it."""

import logging

import apprise

from pipeline.config.compose import COMMAND_LINE
from pipeline.errors import UserError
from pipeline.notify.channel import DeliveryError
from pipeline.notify.message import Message


class AppriseService:
    """Sends messages to one service. Apprise waits some seconds for it, at most."""

    def __init__(self, scheme: str, address: str) -> None:
        # Its log quotes addresses.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self.shown, self._service = f"{scheme}://…", apprise.Apprise()
        if not self._service.add(address):
            raise UserError(
                f"{COMMAND_LINE}: notify={self.shown} is no address that Apprise can read. Its documentation has the "
                "form for each service"
            )

    def send(self, message: Message) -> None:
        """Deliver the message. Raises DeliveryError if the service did not take it."""
        if not self._service.notify(title=message.title, body=message.body):
            raise DeliveryError("Apprise could not deliver it")
