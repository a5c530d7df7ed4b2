"""A webhook: an HTTP server that takes messages as JSON."""

import requests

from pipeline.notify.channel import DeliveryError
from pipeline.notify.message import Message

MOST_SECONDS = 10.0


class Webhook:
    """Sends each message by POST. A redirect is refused: it would send the message elsewhere."""

    def __init__(self, shown: str, address: str) -> None:
        self.shown, self._address = shown, address

    def send(self, message: Message) -> None:
        """Deliver the message. Raises DeliveryError if the server does not answer with 2xx."""
        try:
            # The answer's body is not read, however long it is.
            with requests.post(
                self._address, json=message.as_json(), timeout=MOST_SECONDS, allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
        except requests.Timeout:
            raise DeliveryError(f"no answer within {MOST_SECONDS:g} s") from None
        except requests.RequestException as error:
            raise DeliveryError(f"not reached, {type(error).__name__}") from None
        if not 200 <= status < 300:
            raise DeliveryError(f"answered with status {status}")
