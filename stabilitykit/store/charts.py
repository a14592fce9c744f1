"""What TensorBoard is shown: which tags become scalars, in which charts, and texts and pictures."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.text import metadata as text_metadata

from stabilitykit.records import Incident
from stabilitykit.tags import REGISTRY, by_conventional_site, role_of, split

DEPTHS = 6
"""A chart tells at most six lines apart."""

_BLOCK = re.compile(r"(?:(?P<stack>\w+)\.)?blocks\.\d+")
_INCIDENTS_SHOWN = 50

# Title, family and the rest of the site after the block's number.
_DEPTH_CHARTS = (
    ("Residual RMS per block", "act/rms", ".resid_post"),
    ("Gradient share per block", "grad/share", ""),
    ("Largest attention logit per block", "attn/logit_max", ""),
    ("Attention entropy per block", "attn/entropy", ""),
    ("Update over weight per block", "optim/update_ratio", ""),
)


def is_charted(tag: str, renamed: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Return whether TensorBoard gets ``tag`` as a scalar: few, readable charts.

    Args:
        tag: What is read.
        renamed: Conventional names of renamed sites.
    """
    name, site = split(tag)
    if name == "act/rms":
        return role_of(site, renamed) == "resid_post" or role_of(site, renamed).endswith("_norm_in")
    return name in REGISTRY and REGISTRY[name].chart


def layout(tags: Iterable[str], renamed: Mapping[str, str] = MappingProxyType({})) -> Summary.Value:
    """Return the custom scalars' layout: one chart for the loss and one a statistic, with depths as lines.

    Args:
        tags: What is read; a chart that would stay empty is left out, each stack of blocks has its own, and
            of more than six depths six, from the first to the last, are shown.
        renamed: Conventional names of renamed sites.
    """
    tags = tuple(tags)
    charts = [_chart("Loss", [r"^train/(loss|unigram_cross_entropy)$"])]
    for title, name, end in _DEPTH_CHARTS:
        by_name = by_conventional_site(tags, name, renamed)
        blocks = [site.removesuffix(end) for site in by_name if site.endswith(end)]
        for stack, members in _by_stack(blocks).items():
            shown = [f"^{re.escape(by_name[block + end])}$" for block in _spread(members)]
            charts.append(_chart(f"{title}, {stack}" if stack else title, shown))
    document = layout_pb2.Layout(category=[layout_pb2.Category(title="Stability", chart=charts)])
    return Summary.Value(
        tag=layout_metadata.CONFIG_SUMMARY_TAG,
        metadata=layout_metadata.create_summary_metadata(),
        tensor=_bytes_tensor(document.SerializeToString()),
    )


def _by_stack(sites: Iterable[str]) -> dict[str, list[str]]:
    """Return those of some sites that are blocks, by the name of their stack; empty of the only one."""
    found: dict[str, list[str]] = {}
    for site in sites:
        if match := _BLOCK.fullmatch(site):
            found.setdefault(match["stack"] or "", []).append(site)
    return found


def text(tag: str, markdown: str) -> Summary.Value:
    """Return a text for TensorBoard's Text tab."""
    return Summary.Value(
        tag=tag,
        metadata=text_metadata.create_summary_metadata(display_name=tag, description=""),
        tensor=_bytes_tensor(markdown.encode()),
    )


def picture(tag: str, image: Image.Image) -> Summary.Value:
    """Return a picture for TensorBoard's Images tab, as PNG."""
    memory = io.BytesIO()
    # A palette makes a quarter of the bytes.
    image.quantize(256, method=Image.Quantize.FASTOCTREE).save(memory, "PNG")
    summary = Summary.Image(
        height=image.height, width=image.width, colorspace=3, encoded_image_string=memory.getvalue()
    )
    return Summary.Value(tag=tag, image=summary)


def incidents_markdown(incidents: Iterable[Incident]) -> str:
    """Return a table of incidents, the newest first, with what to try for each."""
    newest = sorted(incidents, key=lambda incident: incident.id, reverse=True)
    lines = [
        "| incident | first site | steps | what |",
        "|---|---|---|---|",
        *(_row(incident) for incident in newest[:_INCIDENTS_SHOWN]),
    ]
    if len(newest) > _INCIDENTS_SHOWN:
        lines += ["", f"and {len(newest) - _INCIDENTS_SHOWN} earlier ones, in incidents.jsonl"]
    remedies = {each.kind: each.remedies for each in newest if each.remedies}
    for kind, texts in remedies.items():
        lines += ["", f"**What to try for {kind}**", "", *(f"- {remedy}" for remedy in texts)]
    return "\n".join(lines)


def _row(incident: Incident) -> str:
    span = f"{incident.start} to {'now (open)' if incident.end is None else incident.end}"
    message = " ".join(incident.message.replace("|", "\\|").split())
    return f"| {incident.kind} ({incident.severity}) | {incident.site} | {span} | {message} |"


def _chart(title: str, patterns: Sequence[str]) -> layout_pb2.Chart:
    return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=patterns))


def _spread(blocks: Sequence[str]) -> list[str]:
    if len(blocks) <= DEPTHS:
        return list(blocks)
    return [blocks[round(at * (len(blocks) - 1) / (DEPTHS - 1))] for at in range(DEPTHS)]


def _bytes_tensor(content: bytes) -> TensorProto:
    return TensorProto(dtype=DT_STRING, string_val=[content], tensor_shape=TensorShapeProto())
