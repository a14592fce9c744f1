"""TensorBoard's HPARAMS tab: what each of several runs was given, and what came of it, side by side.

A run's values stand in a small event file of their own in its folder, and which columns the table has in
one in the folder above; both end with ``.hparams`` and are no logs. TensorBoard keeps the first values that
it meets, so a file is replaced and never added to.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from stabilitykit.errors import RunFolderError
from stabilitykit.store.contents import own_hparams
from stabilitykit.store.disk import reason
from stabilitykit.store.event_file import EventFile, read_events
from stabilitykit.store.event_names import HPARAMS

_PREFIX = "hparam/"
"""Before the tags of metrics, which TensorBoard shows as scalars, too."""
_Value = bool | float | str


class _Written(NamedTuple):
    """What a folder's file holds."""

    hparams: dict[str, _Value]
    metrics: dict[str, float]
    columns: bytes


def write_hparams(
    folder: Path,
    hparams: Mapping[str, Any],
    metrics: Mapping[str, float | None],
    failed: bool = False,
) -> None:
    """Show a finished run as a row of TensorBoard's HPARAMS tab.

    Written again, as where several sweeps share the run, it stays one row, with the values of both.

    Args:
        folder: The run's folder.
        hparams: What it was given, by name: texts, numbers and truth values; anything else is shown as
            JSON, so None as null.
        metrics: What came of it, by name; None, or a number that is not finite, leaves the cell empty,
            and TensorBoard then leaves the run out of its plots.
        failed: Whether an error ended it.

    Raises:
        RunFolderError: The disk did not take it.
    """
    given = {name: _plain(value) for name, value in hparams.items()}
    finite = {
        name: float(np.float32(each))
        for name, each in metrics.items()
        if each is not None and np.isfinite(each)
    }
    with _disk(folder):
        old, files = _read(folder)
        new = _Written({**old.hparams, **given}, finite, b"")
        if old == new and len(files) == 1:
            return
        start = SessionStartInfo(group_name=folder.name)
        for name, value in new.hparams.items():
            _set(start.hparams[name], value)
        end = SessionEndInfo(status=api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS)
        values = [
            _value(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
            *(Summary.Value(tag=_PREFIX + name, simple_value=value) for name, value in finite.items()),
            _value(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)),
        ]
        _replace(folder, files, values)


def write_hparam_columns(
    folder: Path, hparams: Mapping[str, Sequence[Any]], metrics: Mapping[str, str]
) -> None:
    """Say which columns TensorBoard's HPARAMS tab has for the runs below a folder.

    Without this it would show every scalar of every run. What is written again replaces what was there.

    Args:
        folder: The folder that holds the runs' folders.
        hparams: The values that each may have, by name.
        metrics: What each means, by name.

    Raises:
        RunFolderError: The disk did not take it.
    """
    experiment = api_pb2.Experiment(
        hparam_infos=[_column(name, values) for name, values in hparams.items()],
        metric_infos=[
            api_pb2.MetricInfo(
                name=api_pb2.MetricName(tag=_PREFIX + name), display_name=name, description=what
            )
            for name, what in metrics.items()
        ],
    )
    value = _value(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))
    with _disk(folder):
        old, files = _read(folder)
        if old.columns != experiment.SerializeToString(deterministic=True) or len(files) != 1:
            _replace(folder, files, [value])


def _plain(value: Any) -> _Value:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else str(value)
    return json.dumps(value, default=str)


def _set(place: Any, value: _Value) -> None:
    """Write a value into a ``google.protobuf.Value``."""
    # A truth value is an int to Python, so it comes first.
    if isinstance(value, bool):
        place.bool_value = value
    elif isinstance(value, str):
        place.string_value = value
    else:
        place.number_value = value


def _column(name: str, values: Sequence[Any]) -> api_pb2.HParamInfo:
    plain = [_plain(value) for value in values]
    # TensorBoard puts columns that differ first.
    info = api_pb2.HParamInfo(name=name, display_name=name, differs=len(set(map(str, plain))) > 1)
    kinds = {type(each) for each in plain}
    if kinds == {float}:
        info.type = api_pb2.DATA_TYPE_FLOAT64
        numbers = [float(each) for each in plain]
        info.domain_interval.min_value, info.domain_interval.max_value = min(numbers), max(numbers)
        return info
    info.type = api_pb2.DATA_TYPE_BOOL if kinds == {bool} else api_pb2.DATA_TYPE_STRING
    # As they stand in the rows: TensorBoard hides a row whose value is not among these.
    info.domain_discrete.extend({str(each): each for each in plain}.values())
    return info


def _value(tag: str, data: HParamsPluginData) -> Summary.Value:
    return Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )


def _read(folder: Path) -> tuple[_Written, list[Path]]:
    """Return what was written before, and the files that hold it; the newest counts."""
    files = sorted(folder / entry.name for entry in own_hparams(folder))
    written = _Written({}, {}, b"")
    for file in files:
        for event in read_events(file, []):
            for value in event.summary.value:
                written = _with(written, value)
    return written, files


def _with(written: _Written, value: Summary.Value) -> _Written:
    if value.tag.startswith(_PREFIX):
        return written._replace(
            metrics={**written.metrics, value.tag.removeprefix(_PREFIX): value.simple_value}
        )
    content = value.metadata.plugin_data.content
    if value.tag == metadata.SESSION_START_INFO_TAG:
        start = metadata.parse_session_start_info_plugin_data(content)
        found = {name: getattr(each, each.WhichOneof("kind")) for name, each in start.hparams.items()}
        return written._replace(hparams={**written.hparams, **found})
    if value.tag == metadata.EXPERIMENT_TAG:
        experiment = metadata.parse_experiment_plugin_data(content)
        return written._replace(columns=experiment.SerializeToString(deterministic=True))
    return written


def _replace(folder: Path, old: Sequence[Path], values: Sequence[Summary.Value]) -> None:
    file = EventFile(folder, HPARAMS)
    try:
        file.write(values, 0)
    except OSError:
        file.path.unlink(missing_ok=True)
        raise
    finally:
        file.close()
    for path in old:
        path.unlink(missing_ok=True)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot write for TensorBoard ({reason(error)})") from error
