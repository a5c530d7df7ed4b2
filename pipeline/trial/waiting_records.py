"""Send the records that trials left in their folders while the tracking store did not answer."""

from analysis.records.address import without_password
from pipeline.config.places import stored_trials, trials_folder
from pipeline.config.schema import PathsConfig
from pipeline.errors import UserError, first_line
from pipeline.storage.address import joined
from pipeline.storage.store import Store
from pipeline.tracking.journal import JOURNAL, bring_journal, read_journal, send, write_journal
from pipeline.tracking.outage import is_outage
from pipeline.tracking.store import key_of_run
from pipeline.trial.lock import TakenError, claimed


def send_waiting_records(paths: PathsConfig, uri: str) -> int:
    """Send what waits for this store in the folders of trials that no process trains. Return of how many trials.

    Raises UserError if the store does not answer, or refuses the records. They stay in the folder then.
    """
    trials, stored = trials_folder(paths), stored_trials(paths)
    at_address = [path for path in (Store(stored).objects() if stored else {}) if path.endswith(f"/{JOURNAL}")]
    if not (waiting := sorted({*trials.glob(f"*/{JOURNAL}"), *(trials / path for path in at_address)})):
        return 0
    from pipeline.tracking.store_client import StoreClient  # MLflow, which takes seconds to import

    store, sent = without_password(uri), 0
    for file in waiting:
        try:
            with claimed(file.parent):
                copy = Store(joined(stored, file.parent.name)) if stored else None
                if copy and copy.exists(JOURNAL):
                    bring_journal(copy, file.parent)
                written_for, run_id, unsent = read_journal(file)
                # A store that was moved has another address, and the same runs.
                if not unsent or (written_for != store and key_of_run(uri, run_id) is None):
                    continue
                try:
                    send(StoreClient(uri), run_id, unsent)
                except Exception as error:
                    write_journal(file, store, run_id, unsent)
                    why = (
                        "does not answer" if is_outage(error) else "refuses it. If its run was deleted, remove the file"
                    )
                    raise UserError(
                        f"{file}: holds records of a trial for {store}, which {why} ({first_line(error)})"
                    ) from None
                file.unlink()
                if copy:
                    copy.delete(JOURNAL)
                sent += 1
        except TakenError:
            continue  # that process sends them
    return sent
