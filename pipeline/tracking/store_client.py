"""The client that writes to MLflow. Its import takes seconds; reading does not need it."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from numpy.typing import NDArray

from analysis.store.database import SQLITE, database_file, is_missing, refused_schema
from analysis.store.mlflow_client import Metric, MlflowClient, Param, RunTag
from analysis.store.moved_store import follow_move
from pipeline.errors import UserError
from pipeline.files import remove_leftovers, replacing
from pipeline.tracking.outage import ask_through_outage

Answer = TypeVar("Answer")
Grid = NDArray[np.uint8]


class StoreClient(MlflowClient):
    """MLflow's client, which takes plain values."""

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Log parameters, tags, and metrics of step 0 in one call."""
        # MLflow's limits are 6000 characters a parameter and 100 parameters a batch. Settings stay far below.
        settings = [Param(name, str(value)) for name, value in (params or {}).items()]
        now = int(time.time() * 1000)
        values = [Metric(name, value, now, 0) for name, value in (metrics or {}).items()]
        self.log_batch(run_id, params=settings, tags=run_tags(tags or {}), metrics=values)

    def log_values(self, run_id: str, values: Iterable[Mapping[str, Any]]) -> None:
        """Log values of metrics, each with its key, value, timestamp in milliseconds, and step."""
        self.log_batch(run_id, metrics=[Metric(**value) for value in values])

    def log_scores(
        self, run_id: str, step: int, scores: Mapping[str, float], made_with: Mapping[str, object], grid: Grid
    ) -> None:
        """Log an evaluation's image grid, and a file of its scores with what they were made with."""
        self.log_dict(run_id, {"scores": dict(scores), **made_with}, f"evaluations/step_{step:08d}.json")
        # Last, because an image that is logged again after an error would be a second one.
        self.log_image(run_id, np.ascontiguousarray(grid), key="grid", step=step)


class RunTags:
    """The tags of one run (`tracking.lease.Tags`). patience: for how many seconds to ask again in an outage."""

    def __init__(self, uri: str, run_id: str) -> None:
        self.patience = 0.0
        self._client, self._run_id = StoreClient(uri), run_id

    def read(self) -> Mapping[str, str]:
        """Return all tags."""
        return self._ask(lambda: self._client.get_run(self._run_id).data.tags)

    def write(self, name: str, value: str) -> None:
        """Set a tag."""
        self._ask(lambda: self._client.set_tag(self._run_id, name, value))

    def delete(self, name: str) -> None:
        """Delete a tag, unless it is gone already."""
        try:
            self._ask(lambda: self._client.delete_tag(self._run_id, name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def _ask(self, ask: Callable[[], Answer]) -> Answer:
        return ask_through_outage(ask, self.patience, lambda seconds: None)


def open_client(uri: str) -> StoreClient:
    """Return a client. A SQLite database that does not exist yet is created. The caller holds the store's lock."""
    file = database_file(uri)
    if file and is_missing(uri):
        # Under another name until it is whole: MLflow cannot use a database whose creation was interrupted.
        remove_leftovers(file)
        with replacing(file) as partial_file:
            # As a URI, because MLflow writes the root into SQL as it is; a folder's name may hold a quote.
            SqlAlchemyStore(f"{SQLITE}{partial_file}", (file.parent / "mlruns").as_uri()).engine.dispose()
    elif fault := refused_schema(uri) or follow_move(uri):
        raise UserError(fault)
    return StoreClient(uri)


def run_tags(tags: Mapping[str, object]) -> list[RunTag]:
    """Return tags as MLflow takes them."""
    return [RunTag(name, str(value)) for name, value in tags.items()]
