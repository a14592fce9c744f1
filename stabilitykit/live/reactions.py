"""What happens when an incident opens: log, stop, raise, or call a function, a command or a web address."""

import json
import logging
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from stabilitykit.errors import ConfigError, IncidentError
from stabilitykit.guard import Guard, say
from stabilitykit.records import Incident

log = logging.getLogger("stabilitykit")

_WORDS = ("log", "stop", "raise")


@dataclass(frozen=True, slots=True)
class Command:
    """Runs a program with the incident's JSON document on its standard input, without waiting for it."""

    arguments: Sequence[str]
    """The program and its arguments; no shell reads them."""
    timeout_s: float = 30.0
    """After which it is ended."""

    def __call__(self, incident: Incident) -> None:
        """Run it in a thread of its own."""
        _in_background(str(self.arguments[0]), lambda: self._run(incident))

    def _run(self, incident: Incident) -> None:
        done = subprocess.run(
            list(self.arguments), input=_document(incident), capture_output=True, timeout=self.timeout_s
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise OSError(f"exit status {done.returncode} {said}".strip())


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Posts the incident's JSON document to a web address, without waiting for the answer."""

    url: str
    """Beginning with http:// or https://."""
    timeout_s: float = 10.0
    """After which it is given up."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(
                f"on_incident: got the address {self.url!r}; must begin with http:// or https://"
            )

    def __call__(self, incident: Incident) -> None:
        """Post it from a thread of its own."""
        _in_background(self.url, lambda: self._post(incident))

    def _post(self, incident: Incident) -> None:
        header = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url, _document(incident), header, method="POST")
        with urllib.request.urlopen(request, timeout=self.timeout_s):
            pass


Reaction = Literal["log", "stop", "raise"] | Callable[[Incident], None]
"""One thing to do when a warning or critical incident opens."""

Policy = Reaction | Sequence[Reaction]
"""What happens when a warning or critical incident opens."""


def reactions(policy: Policy) -> tuple[tuple[Reaction, Guard], ...]:
    """Return a policy as its reactions, in order, each with what keeps its errors from training.

    Raises:
        ConfigError: It is, or holds, something else.
    """
    several = isinstance(policy, Sequence) and not isinstance(policy, str)
    found: tuple[Reaction, ...] = tuple(policy) if several else (policy,)  # type: ignore[arg-type,assignment]
    for reaction in found:
        if not callable(reaction) and reaction not in _WORDS:
            raise ConfigError(
                f"on_incident: got {reaction!r}; accepted: 'log', 'stop', 'raise', a function, a Command, "
                "a WebAddress, or a list of these"
            )
    return tuple((reaction, Guard(f"on_incident: {_name(reaction)}")) for reaction in found)


def _name(reaction: Reaction) -> str:
    return reaction if isinstance(reaction, str) else getattr(reaction, "__name__", type(reaction).__name__)


def react(found: Sequence[tuple[Reaction, Guard]], incident: Incident, is_first: bool = True) -> bool:
    """Do what a policy says, and return whether training should stop.

    Args:
        found: The reactions, each with what keeps its errors from training; ``raise`` comes last wherever it
            stands. A function of the user's own that raises is said once and called again at the next
            incident, up to a number of failures in a row; to end training there are ``stop`` and ``raise``.
        incident: What opened.
        is_first: Whether this is the first of the processes that train the model. It alone logs, runs
            commands and posts to addresses; the others do the rest as well.

    Raises:
        IncidentError: One of them is ``raise``, or a function raises it.
    """
    text = f"{incident.severity} at step {incident.detected}: {incident.kind}: {incident.message}"
    words = [reaction for reaction, _ in found if isinstance(reaction, str)]
    if is_first and ("log" in words or "stop" in words):
        say(text)
    for reaction, guard in found:
        if callable(reaction) and (is_first or not isinstance(reaction, Command | WebAddress)):
            guard(partial(reaction, incident), None)
    if "raise" in words:
        raise IncidentError(text)
    return "stop" in words


def _document(incident: Incident) -> bytes:
    return json.dumps(incident.to_json(), ensure_ascii=False).encode()


def _in_background(name: str, work: Callable[[], None]) -> None:
    """Do something that may fail or hang; a failure is logged and does nothing else."""

    def run() -> None:
        try:
            work()
        except Exception as error:  # A message that does not arrive must not end a training run.
            log.warning("on_incident: %s: %s: %s", name, type(error).__name__, error)

    # Not a daemon: an incident that ends the program should still be told.
    threading.Thread(target=run, name="stabilitykit-incident").start()
