"""A leadership that lives by renewals: the thread that renews, and the time that each renewal proves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from mishards.election.api import clock
from mishards.errors import ElectionError

log = logging.getLogger(__name__)

SURE = 0.9
"""The part of a lease that its holder counts on: clocks of two machines may run apart by the rest."""

_RESIGN_S = 2.0


class Tenure:
    """Renews a lease until it is lost or resigned; made by an elector that has just taken it.

    A lease that has run out unproven is not lost yet: where a renewal succeeds after all, nobody took it in between.
    """

    def __init__(
        self,
        renew: Callable[[], bool],
        give_back: Callable[[], object],
        *,
        asked_at: float,
        lease_s: float,
        renew_s: float,
    ) -> None:
        """Begin to renew.

        Args:
            renew: Renews once; False when the lease is certainly held no more, ElectionError when there is no answer.
            give_back: Lets another candidate have the lease; may raise ElectionError.
            asked_at: The time on ``clock`` before the lease was asked for.
            lease_s: How long others wait for a holder that does not renew.
            renew_s: How often to renew.
        """
        self._renew = renew
        self._give_back = give_back
        self._sure_s = lease_s * SURE
        self._renew_s = renew_s
        self._proven_until = asked_at + self._sure_s
        self._changed = threading.Condition()
        self._lost = threading.Event()
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="election-renew", daemon=True)
        self._thread.start()

    @property
    def proven_until(self) -> float:
        """The time on ``clock`` until which nobody else leads."""
        return self._proven_until

    def wait_proven(self, timeout_s: float) -> bool:
        """Is the lease proven now? Where it is neither proven nor lost, renew and wait, but no longer than this."""
        if clock() < self._proven_until:
            return True
        self._due.set()
        with self._changed:
            self._changed.wait_for(lambda: self._lost.is_set() or clock() < self._proven_until, timeout_s)
            return clock() < self._proven_until

    def wait_lost(self, timeout_s: float) -> bool:
        """Wait until the lease is lost or resigned, but no longer than this."""
        return self._lost.wait(timeout_s)

    def lose(self) -> None:
        """End it now: whoever calls knows that the lease is gone."""
        with self._changed:
            self._proven_until = 0.0
            self._lost.set()
            self._changed.notify_all()
        self._due.set()

    def resign(self) -> None:
        """Stop renewing and give the lease back."""
        held = not self._lost.is_set()
        self.lose()
        self._thread.join(_RESIGN_S)
        if held:
            with suppress(ElectionError):  # nobody hears it; the lease runs out by itself
                self._give_back()

    def _run(self) -> None:
        complained = False
        while True:
            self._due.wait(self._renew_s)
            self._due.clear()
            if self._lost.is_set():
                return
            asked_at = clock()
            try:
                if not self._renew():
                    log.warning("the lease is held no more")
                    self.lose()
                    return
                complained = False
                self._prove(asked_at)
            except ElectionError as error:
                if not complained:
                    log.warning("the lease is not renewed, trying on: %s", error)
                complained = True

    def _prove(self, asked_at: float) -> None:
        with self._changed:
            if not self._lost.is_set():
                self._proven_until = asked_at + self._sure_s
                self._changed.notify_all()
