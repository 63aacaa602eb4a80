"""A cloud whose machines come up when they are told to: when there is a file called ``go``."""

from __future__ import annotations

import threading
import time
from typing import Any

from jupyter_gpu_remote.config import state_dir
from jupyter_gpu_remote.model import MachineSpec, Offer
from tests.fake_cloud import FakeProvider


class SlowProvider(FakeProvider):
    """Stays at booting; its ``create`` takes a while, as a real one does."""

    create_seconds = 0.3
    _lock = threading.RLock()

    @property
    def boot_polls(self) -> int:  # type: ignore[override]
        """Never enough, before the file is there."""
        return 0 if (state_dir() / "go").exists() else 10**9

    def create(self, offer: Offer, spec: MachineSpec) -> str:
        """Take some time."""
        time.sleep(self.create_seconds)
        return super().create(offer, spec)

    @classmethod
    def rented(cls) -> dict[str, dict[str, Any]]:
        """Find no file gone that was there a moment ago: many threads launch at a time."""
        with cls._lock:
            return super().rented()

    def delete(self, provider_id: str) -> None:
        """Delete it while nobody looks."""
        with self._lock:
            super().delete(provider_id)
