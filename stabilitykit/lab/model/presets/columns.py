"""Say in a few words what a configuration is: the columns of a table of architectures."""

from collections.abc import Iterator

from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.sections import NormConfig

_NORMS = {"rmsnorm": "RMS", "layernorm": "LN", "l2": "L2", "dyt": "DyT", "derf": "Derf"}
_POSITIONS = {"learned": "absolute", "sine": "sine", "none": "none", "alibi": "ALiBi", "t5_bias": "relative"}
_ACTIVATIONS = {
    "relu": "ReLU",
    "relu2": "ReLU²",
    "gelu": "GELU",
    "gelu_tanh": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "selu": "SELU",
    "leaky_relu": "leaky ReLU",
    "xielu": "xIELU",
    "mish": "Mish",
    "tanh": "tanh",
    "softplus": "softplus",
    "identity": "linear",
    "sigmoid": "sigmoid",
}
_GATED = {
    "relu": "ReGLU",
    "gelu": "GeGLU",
    "gelu_tanh": "GeGLU",
    "silu": "SwiGLU",
    "identity": "LiGLU",
    "sigmoid": "GLU",
}


def columns(config: TransformerConfig) -> dict[str, str]:
    """Return the columns ``norm``, ``block``, ``position``, ``ffn`` and ``tricks`` of a configuration.

    Args:
        config: Any configuration; nothing is looked up by a name.
    """
    return {
        "norm": _norm(config),
        "block": _block(config),
        "position": _position(config),
        "ffn": _ffn(config),
        "tricks": ", ".join(_tricks(config)),
    }


def _norm(config: TransformerConfig) -> str:
    wirings = dict.fromkeys(
        config.wiring_of(layer, sublayer) for layer in range(config.n_layers) for sublayer in ("attn", "mlp")
    )
    placed = " + ".join(wiring.removesuffix("_norm") for wiring in wirings)
    kinds = dict.fromkeys(_kind(config.norm_of(sublayer)) for sublayer in ("attn", "mlp"))
    return "none" if placed == "no" else f"{' + '.join(kinds)} {placed}"


def _kind(norm: NormConfig) -> str:
    name = _NORMS[norm.kind]
    if not norm.gain:
        return f"{name} (no gain)"
    return f"{name} (no bias)" if norm.kind == "layernorm" and not norm.bias else name


def _block(config: TransformerConfig) -> str:
    return f"{config.order}, 1 norm" if config.shared_norm else config.order


def _position(config: TransformerConfig) -> str:
    position = config.position
    if position.kind == "rope":
        share = "" if position.rotary_fraction == 1 else f" {position.rotary_fraction:g}"
        name = f"RoPE{share}"
    else:
        name = _POSITIONS[position.kind]
    return name if all(kind.position for kind in config.pattern) else f"{name} + none"


def _ffn(config: TransformerConfig) -> str:
    section = config.feedforward
    if not section.gated:
        return _ACTIVATIONS[section.activation]
    return _GATED.get(section.activation, f"gated {_ACTIVATIONS[section.activation]}")


def _tricks(config: TransformerConfig) -> Iterator[str]:
    yield from _attention_tricks(config)
    yield from _residual_tricks(config)
    if config.head.softcap:
        yield f"output cap {config.head.softcap:g}"
    if config.head.z_loss:
        yield f"z-loss {config.head.z_loss:g}"
    if config.embedding.norm:
        yield "embedding norm"
    if config.embedding.scale != 1:
        factor = config.embedding.scale
        yield f"embedding × {'√d' if factor == 'sqrt_d' else f'{factor:g}'}"
    if config.head.scale != 1:
        yield "scaled logits"
    if config.head.gain:
        yield "gain of logits"


def _attention_tricks(config: TransformerConfig) -> Iterator[str]:
    section = config.attention
    if section.qk_norm != "none":
        yield f"QK{'V' if section.v_norm else ''}-norm ({section.qk_norm})"
    if section.softcap:
        yield f"logit cap {section.softcap:g}"
    if section.clip_qkv:
        yield f"QKV clip {section.clip_qkv:g}"
    if config.n_kv_heads < section.n_heads:
        yield "MQA" if config.n_kv_heads == 1 else f"GQA {section.n_heads}:{config.n_kv_heads}"
    for span in ("sliding", "chunked"):
        if some := sum(kind.span == span for kind in config.pattern):
            rest = len(config.pattern) - some
            yield f"{span} {some}:{rest}" if rest else span
    if section.temperature_floor:
        yield "temperature"
    if section.out_norm or config.feedforward.mid_norm:
        yield "inner norm"
    if config.position.rescale.kind != "none":
        yield f"rope {config.position.rescale.kind} × {config.position.rescale.factor:g}"
    if section.head_scale:
        yield "head scale"
    if section.sinks != "none":
        yield f"{section.sinks} sinks"
    if config.feedforward.clamp:
        yield f"gate clamp {config.feedforward.clamp:g}"


def _residual_tricks(config: TransformerConfig) -> Iterator[str]:
    sections = [config.residual_of(sublayer) for sublayer in ("attn", "mlp")]
    for scale in dict.fromkeys(each.branch_scale for each in sections if each.branch_scale != 1):
        yield f"branch × {scale:g}"
    for gate in dict.fromkeys(each.gate for each in sections if each.gate != "none"):
        yield f"{gate} gate"
    if any(each.depth_scale != "none" for each in sections):
        yield "÷ √layer"
    if any(each.branch_depth_exponent for each in sections):
        yield "÷ depth"
    if any(each.gpas for each in sections):
        yield "GPAS"
    if config.unit_weights:
        yield "unit weights"
    if config.initialization.scheme in ("deepnorm", "subln", "tfixup", "mup"):
        yield f"{config.initialization.scheme} init"
