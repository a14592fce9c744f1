"""Find the sites, parameter groups and norm gains of a model by the names of its modules."""

import re
from types import MappingProxyType

from torch import nn

from stabilitykit.observe.site import Layout, Role, Site
from stabilitykit.tags import block_site

_MARKS = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
_NORM = re.compile(r"(attn|mlp)(_\w+)?_norm|final_norm")
_BLOCK = re.compile(r"(?P<root>.*?)blocks\.(?P<index>\d+)(?:\.(?P<leaf>.+))?")


def conventional_layout(model: nn.Module) -> Layout | None:
    """Return the sites of a model whose modules carry conventional names, or None if they do not.

    The stack of blocks is a container ``blocks``; inside a block ``resid_pre``, ``attn_out``,
    ``resid_mid``, ``mlp_out`` and ``resid_post`` mark the residual stream, ``*_norm`` are norms and
    ``attn`` is the attention. The model may sit anywhere below ``model``, for example inside a
    LightningModule.

    Args:
        model: The module to look into.
    """
    modules = dict(model.named_modules())
    root = _root(modules)
    if root is None:
        return None
    blocks = modules[f"{root}blocks"]
    n_blocks = len(list(blocks.children()))
    sites = [site for path in modules for site in _sites(path, root, n_blocks)]
    gains = {
        _name(path, root, n_blocks): f"{path}.weight"
        for path, module in modules.items()
        if _NORM.fullmatch(path.rpartition(".")[2])
        and isinstance(getattr(module, "weight", None), nn.Parameter)
    }
    hidden = {
        name: Site(name, path, Role.ACTIVATION, side="input")
        for path in modules
        if path.startswith(root) and path.endswith(".mlp.down_proj")
        for name in [_name(path, root, n_blocks).removesuffix(".mlp.down_proj") + ".mlp_hidden"]
    }
    groups = _groups(model, root, n_blocks)
    return Layout(tuple(sites), groups, MappingProxyType(gains), hidden=MappingProxyType(hidden))


def _root(modules: dict[str, nn.Module]) -> str | None:
    """Return the path in front of ``blocks``, with its dot, of the outermost marked stack."""
    for path in modules:
        match = _BLOCK.fullmatch(path)
        if match and match["leaf"] == "resid_pre":
            return match["root"]
    return None


def _name(path: str, root: str, n_blocks: int) -> str:
    """Return the site's name of a module's path: below the root, with the depth padded."""
    below = path.removeprefix(root)
    match = _BLOCK.fullmatch(below)
    if match is None or match["root"]:
        return below
    block = block_site(int(match["index"]), n_blocks)
    return f"{block}.{match['leaf']}" if match["leaf"] else block


def _sites(path: str, root: str, n_blocks: int) -> list[Site]:
    """Return the sites at one module, in forward order."""
    if not path.startswith(root):
        return []
    name, leaf = _name(path, root, n_blocks), path.rpartition(".")[2]
    if name == "head.logits":
        return [Site(name, path, Role.LOGITS)]
    if leaf in _MARKS:
        return [Site(name, path, Role.ACTIVATION)]
    if _NORM.fullmatch(leaf) and name.count(".") <= 2:
        return [
            Site(f"{name}_in", path, Role.ACTIVATION, side="input"),
            Site(f"{name}_out", path, Role.ACTIVATION),
        ]
    if leaf == "attn":
        return [Site(name.removesuffix(".attn"), path, Role.ATTENTION)]
    return []


def _groups(model: nn.Module, root: str, n_blocks: int) -> MappingProxyType[str, tuple[str, ...]]:
    """Return trainable parameters by block, and by top-level module outside the blocks."""
    groups: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            below = _name(name, root, n_blocks) if name.startswith(root) else name
            parts = below.split(".")
            group = ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]
            groups.setdefault(group, []).append(name)
    return MappingProxyType({group: tuple(names) for group, names in groups.items()})
