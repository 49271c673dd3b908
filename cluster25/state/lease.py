"""The lease, on any store: who may work, since when, and until when.

```
  t   run A                                      run B
  0   acquire: fence 7, lease until 570
 60   record: page 0, lease until 630
      (stopped here, by whatever)
600                                              acquire: held by A until 630 -> LeaseHeldError
631                                              acquire: expired -> fence 8, lease until 1201
700   record: expired by its own clock           record: page 1, lease until 1270
      -> LeaseLostError, nothing is written
```
Should A's clock be slow and it writes all the same: the write is made from a revision that B has replaced,
so it conflicts, and what A reads then has fence 8. Clocks decide who waits, never who is right.
"""

from datetime import timedelta
from itertools import chain

from cluster25.clock import Clock, to_rfc3339
from cluster25.errors import LeaseHeldError, StateDamagedError, StateUnavailableError
from cluster25.state.document import Lease, State
from cluster25.state.held import HeldLease
from cluster25.state.ledger import Ledger
from cluster25.state.store import ConflictError, Store, Stored, attempts


def read_state(store: Store) -> State:
    """The state as it is, in one read; an empty one when this connector has never run."""
    return State.of(store.read(), store.location)


def acquire(
    store: Store, clock: Clock, run_id: str, lease_seconds: float, tick: str | None = None
) -> HeldLease:
    """Take the lease for this run, and read what it needs to go on. A pending reset is carried out.

    `tick` names the Scheduler tick that caused the run. Raises LeaseHeldError when another run holds the
    lease or this tick was already served; StateDamagedError when the document or a page is not understood;
    StateUnavailableError.
    """
    for _ in attempts(clock):
        stored = store.read()
        state = State.of(stored, store.location)
        holder = state.lease.holder if state.lease and state.lease_held_at(clock.now()) else None
        if holder not in {None, run_id} or (tick is not None and tick == state.last_tick):
            raise _not_now(state, holder)
        if state.reset_pending:
            state = state.without_checkpoint()
        # Read before the lease is taken, so that a state that cannot be used leaves no lease behind.
        ledger = _read_ledger(store, stored, state)
        if ledger is None:
            continue
        if holder is None:
            lease = Lease(holder=run_id, until=clock.now() + timedelta(seconds=lease_seconds))
            state = state.changed(fence=state.fence + 1, lease=lease)
        # Otherwise an earlier try had been applied although it showed as a conflict.
        try:
            taken = store.write(state.to_document(), stored)
        except ConflictError:
            continue
        return HeldLease(store, clock, run_id, lease_seconds, taken, ledger)
    raise LeaseHeldError("Other runs are starting at the same time.", "This call is skipped.")


def request_reset(store: Store, clock: Clock) -> bool:
    """Forget the checkpoint: now (True), or when the run that holds the lease next writes or ends (False).

    Either way the reset stays pending until a run begins, so that a heartbeat can start one at once.
    Raises StateDamagedError, StateUnavailableError.
    """
    for _ in attempts(clock):
        stored = store.read()
        if stored is None:
            return True
        state = State.of(stored, store.location)
        held = state.lease_held_at(clock.now())
        if held:
            state = state.changed(reset_pending=True)
        else:
            # An expired lease is broken like in a takeover: its holder may still be about to write.
            forgotten = state.without_checkpoint()
            state = forgotten.changed(reset_pending=True, lease=None, fence=state.fence + 1)
        try:
            store.write(state.to_document(), stored)
        except ConflictError:
            continue
        return not held
    raise StateUnavailableError("Others kept writing to the state.", "Ask for the reset again.")


def read_checkpoint(store: Store) -> tuple[State, Ledger]:
    """The state and the ledger, without the right to change them.

    Raises StateDamagedError, StateUnavailableError.
    """
    while True:
        stored = store.read()
        state = State.of(stored, store.location)
        ledger = _read_ledger(store, stored, state)
        if ledger is not None:
            return state, ledger


def _not_now(state: State, holder: str | None) -> LeaseHeldError:
    if holder is None or state.lease is None:
        return LeaseHeldError(
            f"Scheduler tick {state.last_tick} was already served.", "This call is skipped."
        )
    return LeaseHeldError(
        f"Run {holder} holds the lease until {to_rfc3339(state.lease.until)}.",
        "This call is skipped; what is new is imported by that run or the next.",
    )


def _read_ledger(store: Store, stored: Stored | None, state: State) -> Ledger | None:
    """The ledger the state counts; None when the state was replaced meanwhile, and its pages swept."""
    try:
        return Ledger.unpack(chain([state.ledger], store.read_pages(state.generation, state.pages)))
    except (StateDamagedError, ValueError) as error:
        now_stored = store.read()
        if stored is None or now_stored is None or now_stored.revision != stored.revision:
            return None
        if isinstance(error, StateDamagedError):
            raise
        raise StateDamagedError(
            f"The stored ledger cannot be understood: {error}.",
            f"Nothing was changed in {store.location}. Restore it from a backup, or delete it to start over.",
        ) from None
