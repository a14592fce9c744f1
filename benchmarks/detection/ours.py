"""Stabilitykit as a tool to be scored: in this process, or as the command that users type."""

import json
import shlex
import subprocess
from pathlib import Path

from benchmarks.detection.log import Log, Said, Tool
from stabilitykit.afterwards.replay import replay
from stabilitykit.records import Verdict


def said(verdict: Verdict) -> Said:
    """Return a verdict of stabilitykit in the form of all tools."""
    fields = ("kind", "start", "end", "detected")
    return Said(verdict.outcome, [{name: getattr(i, name) for name in fields} for i in verdict.incidents])


def _judge(path: Path, log: Log) -> Said:
    return said(replay(path).verdict)


OURS = Tool("stabilitykit", "ours", "this version", _judge)


def command(line: str) -> Tool:
    """Return the tool that a command line runs; the log's path is added to it.

    Args:
        line: Such as ``stabilitykit diagnose --json``; must print one document with ``verdict`` and
            ``incidents``.
    """

    def judge(path: Path, log: Log) -> Said:
        run = subprocess.run([*shlex.split(line), str(path)], capture_output=True, text=True, check=True)
        document = json.loads(run.stdout)
        fields = ("kind", "start", "end", "detected")
        return Said(document["verdict"], [{name: i[name] for name in fields} for i in document["incidents"]])

    return Tool(line, "command", "the command", judge)
