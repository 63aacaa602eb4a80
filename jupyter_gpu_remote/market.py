"""What all clouds have, asked at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from .errors import (
    ConfigurationError,
    GpuRemoteError,
    MachineNotFoundError,
    NoCapacityError,
    ProviderAuthError,
    ProviderError,
)
from .model import GpuRequest, Offer
from .providers.base import Provider

OFFERS_LIMIT = 30.0
"""Seconds that one cloud may take to say what it has before the others go on without it."""

Answer = Sequence[Offer] | GpuRemoteError


def ask(names: Sequence[str], load: Callable[[str], Provider], request: GpuRequest) -> dict[str, Answer]:
    """Return what each provider has for `request`, or why it has nothing to say; none hides the others."""
    answered: queue.SimpleQueue[tuple[str, Answer]] = queue.SimpleQueue()

    def ask_one(name: str) -> None:
        try:
            answered.put((name, load(name).offers(request)))
        except GpuRemoteError as e:
            answered.put((name, e))
        except Exception as e:  # one provider's bug must not hide the others
            answered.put((name, ProviderError(f"{name} failed: {e!r}.")))

    late = ProviderError(f"No answer within {OFFERS_LIMIT:.0f} s.", hint="Try again, or another --cloud.")
    answers: dict[str, Answer] = dict.fromkeys(names, late)
    for name in names:
        threading.Thread(target=ask_one, args=(name,), name=f"offers of {name}", daemon=True).start()
    limit = time.monotonic() + OFFERS_LIMIT
    for _ in names:
        try:
            name, answer = answered.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            break
        answers[name] = answer
    return answers


def nothing_found(request: GpuRequest, answers: Mapping[str, Answer]) -> GpuRemoteError:
    """Return the error that lists where nothing was found for `request`, and why."""
    if request.on:
        return MachineNotFoundError(
            f"There is no machine called {request.on!r} at {' or '.join(answers)}.",
            hint="See the names with: jupyter gpu-remote list. For an SSH destination add --cloud ssh.",
        )
    gpu = f"{request.gpu}:{request.count}" if request.count > 1 else request.gpu
    looked = []
    for name, answer in answers.items():
        if isinstance(answer, GpuRemoteError):
            looked.append(f"\n  {name}: {answer.message}")
        else:
            looked.append(f"\n  {name}: nothing that fits")
    errors = [a for a in answers.values() if isinstance(a, GpuRemoteError)]
    shut_out = errors and all(isinstance(e, (ProviderAuthError, ConfigurationError)) for e in errors)
    kind = ConfigurationError if shut_out else NoCapacityError
    hint = f"To try it for nothing on this computer: --cloud local --gpu {gpu}"
    if request.cloud or not request.gpu:
        hint = "Ask for less: leave out --region, --zone, --max-price, --cpus or --memory."
    return kind(f"Nothing was found for {gpu or 'a machine'}. Looked at:{''.join(looked)}", hint=hint)
