"""Tell of a sweep's events elsewhere, in the background: training never waits, and a loss is counted."""

import queue
import threading
import time
from datetime import timedelta

from pipeline.notify.channel import Channel, DeliveryError
from pipeline.notify.message import Event, Fields, Message
from pipeline.trial.job import Outcome

# A restart of a server is shorter.
SILENT_SECONDS = 60.0
# If all trials fail, the last message counts the others.
MOST_FAILURES = 20
# How long the end of a sweep waits for messages that are not sent yet.
SECONDS_AT_END = 15.0


class News:
    """Sends a sweep's events to a channel, one after another, in a thread. Without a channel it does nothing."""

    def __init__(self, channel: Channel | None, sweep: str, task: str) -> None:
        self._channel, self._sweep, self._task = channel, sweep, task
        self._began = time.monotonic()
        self._waiting: queue.Queue[Message | None] = queue.Queue()
        self._told = self._delivered = self._failures = 0
        self._fault = ""
        self._silent = False
        self._thread = threading.Thread(target=self._send_all, daemon=True)

    @property
    def wanted(self) -> bool:
        """Whether somebody listens."""
        return self._channel is not None

    def trial_ended(self, row: str, seed: int, outcome: Outcome, *, again: bool) -> None:
        """A trial has ended. A failure is told, and a loss after which the trial runs again."""
        event: Event
        if outcome.ending == "lost" and again:
            event, how = "lost", "is lost and runs again from its checkpoint"
        elif outcome.ending in ("failed", "memory", "lost") and not again:
            event, how = "failed", "has failed"
        else:
            return
        self._failures += 1
        if self._failures <= MOST_FAILURES:
            last = " Further failures are told at the end." if self._failures == MOST_FAILURES else ""
            fields: Fields = {"row": row, "seed": seed, "reason": outcome.reason}
            self._tell(event, f"{row}, seed {seed} {how}: {outcome.reason}{last}", fields)

    def store_silent(self, seconds: float) -> None:
        """The tracking store has not answered for so long; 0: it answers. The first minute is not told."""
        if not self._silent and seconds >= SILENT_SECONDS:
            self._silent = True
            what = f"the tracking store has not answered for {seconds:.0f} s. Training continues."
            self._tell("store_silent", what, {"seconds": round(seconds)})
        elif self._silent and not seconds:
            self._silent = False
            self._tell("store_answers", "the tracking store answers again.", {})

    def ended(self, what: str, fields: Fields) -> None:
        """The sweep has ended, in words and fields."""
        seconds = round(time.monotonic() - self._began)
        self._tell("ended", f"{what} It took {timedelta(seconds=seconds)}.", {**fields, "seconds": seconds})

    def close(self) -> str:
        """Wait until all is sent, but not for long. Return a sentence on what was not delivered; '' if all was."""
        if self._channel is None or not self._told:
            return ""
        self._waiting.put(None)
        self._thread.join(SECONDS_AT_END)
        lost = self._told - self._delivered
        if not lost:
            return ""
        why = self._fault or f"no answer within {SECONDS_AT_END:g} s"
        return f"{lost} of {self._told} messages could not be delivered to {self._channel.shown} ({why})."

    def _tell(self, event: Event, what: str, fields: Fields) -> None:
        if self._channel is None:
            return
        if not self._told:
            self._thread.start()
        self._told += 1
        self._waiting.put(Message(event, self._sweep, self._task, what, fields))

    def _send_all(self) -> None:
        assert self._channel
        while message := self._waiting.get():
            try:
                self._channel.send(message)
                self._delivered += 1
            except DeliveryError as error:
                self._fault = str(error)
            except Exception as error:  # of a library; its text may quote the address
                self._fault = type(error).__name__


# For a sweep of which nobody is told.
NOBODY = News(None, "", "")
