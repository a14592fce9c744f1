"""What happens when an incident opens."""

import http.server
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stabilitykit.errors import ConfigError, IncidentError
from stabilitykit.live.reactions import Command, WebAddress, react, reactions
from stabilitykit.records import Incident, Severity


@pytest.fixture
def incident() -> Incident:
    return Incident(
        id=1,
        kind="loss_spike",
        start=4,
        detected=5,
        peak=5,
        end=None,
        site="train/loss",
        severity=Severity.WARNING,
        value=float("nan"),
        threshold=2.0,
        message="the loss jumped",
    )


@pytest.fixture
def address() -> Iterator[tuple[str, list[Any]]]:
    """Yield the address of a real server on this machine, and what was posted to it."""
    posted: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", posted
    server.shutdown()
    thread.join()
    server.server_close()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "nothing came within 10 s"
        time.sleep(0.01)


def test_a_command_gets_the_incident_on_its_standard_input(incident: Incident, tmp_path: Path) -> None:
    target = tmp_path / "said.json"
    program = f"import sys; open({str(target)!r}, 'w').write(sys.stdin.read())"
    react(reactions(Command([sys.executable, "-c", program])), incident)
    wait_for(lambda: target.exists() and target.read_text().endswith("}"))
    assert json.loads(target.read_text()) == json.loads(json.dumps(incident.to_json()))


def test_a_command_that_fails_is_said_and_ends_nothing(
    incident: Incident, caplog: pytest.LogCaptureFixture
) -> None:
    react(reactions(Command([sys.executable, "-c", "import sys; sys.exit('no mail today')"])), incident)
    react(reactions(Command(["no-such-program-here"])), incident)
    wait_for(lambda: len(caplog.messages) == 2)
    assert any("exit status 1 no mail today" in line for line in caplog.messages)
    assert any("no-such-program-here" in line for line in caplog.messages)


def test_a_web_address_is_posted_the_incident(incident: Incident, address: Any) -> None:
    url, posted = address
    react(reactions(WebAddress(url)), incident)
    wait_for(lambda: posted)
    path, content, document = posted[0]
    assert (path, content) == ("/hook", "application/json")
    assert document["kind"] == "loss_spike"
    assert document["value"] is None
    assert document["nonfinite"] == "nan"


def test_an_address_where_nobody_listens_is_said(
    incident: Incident, caplog: pytest.LogCaptureFixture
) -> None:
    react(reactions(WebAddress("http://127.0.0.1:9/")), incident)
    wait_for(lambda: caplog.messages)
    assert "http://127.0.0.1:9/" in caplog.messages[0]


def test_several_reactions_all_happen_and_raise_comes_last(
    incident: Incident, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Incident] = []
    assert react(reactions(["stop", told.append]), incident)
    with pytest.raises(IncidentError, match="the loss jumped"):
        react(reactions(["raise", "log", told.append]), incident)
    assert told == [incident, incident]
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("wrong", ["explode", 3, ["log", "explode"], None])
def test_other_policies_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"on_incident: got .*accepted: 'log', 'stop', 'raise'"):
        reactions(wrong)


def test_an_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="must begin with http"):
        WebAddress("example.org/hook")
