"""Modules that torch.jit has compiled: they take no hooks."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from stabilitykit.observe.site import Layout

SCRIPTED = "the model is scripted by torch.jit, which takes no hooks: no activations, attention or logits"


def without_scripted(layout: Layout, modules: Mapping[str, nn.Module]) -> Layout:
    """Return a layout without the sites that lie in scripted modules; a note says so.

    Args:
        layout: What was found.
        modules: The model's modules by path.
    """
    scripted = [path for path, module in modules.items() if isinstance(module, torch.jit.ScriptModule)]
    if not scripted or SCRIPTED in layout.notes:
        return layout
    outer = [path for path in scripted if path.rpartition(".")[0] not in scripted]
    note = f"scripted by torch.jit, which takes no hooks: {', '.join(outer[:3])}{', …' if outer[3:] else ''}"
    return replace(
        layout,
        sites=tuple(site for site in layout.sites if site.module not in scripted),
        hidden={name: site for name, site in layout.hidden.items() if site.module not in scripted},
        routers={name: each for name, each in layout.routers.items() if each.module not in scripted},
        notes=(*layout.notes, note),
    )
