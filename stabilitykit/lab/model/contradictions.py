"""What a transformer's configuration may not say at once, each with the field to blame and why. No torch."""

import math
from collections.abc import Callable, Iterator

from stabilitykit.lab.model.architecture import Architecture
from stabilitykit.lab.model.sections import NormConfig, ResidualConfig
from stabilitykit.lab.validation import refusal

Refusals = Iterator[tuple[str, str]]


def check(config: Architecture) -> None:
    """Refuse the first contradiction in a configuration.

    Raises:
        PydanticCustomError: There is one; it carries the field's dotted path and the reason.
    """
    for rule in _RULES:
        for path, reason in rule(config):
            raise refusal(path, reason)


def _heads(config: Architecture) -> Refusals:
    section, width = config.attention, config.d_model
    if section.head_dim is None and width % section.n_heads:
        divisors = ", ".join(str(n) for n in range(1, width + 1) if width % n == 0)
        reason = f"got {section.n_heads}; must divide d_model {width}, accepted: {divisors}"
        yield "attention.n_heads", reason
    if section.n_heads % config.n_kv_heads:
        reason = f"got {config.n_kv_heads}; must divide n_heads {section.n_heads}"
        yield "attention.n_kv_heads", reason


def _norms(config: Architecture) -> Refusals:
    yield from _norm("norm", config.norm)
    for path, norm in _own_norms(config).items():
        yield from _norm(path, norm)
    unused = {
        "attention.norm": not (_has_norms(config, "attn") or config.attention.out_norm),
        "feedforward.norm": not (_has_norms(config, "mlp") or config.feedforward.mid_norm),
        "embedding.norm_config": not config.embedding.norm,
        "final_norm_config": not config.has_final_norm,
    }
    for path in _own_norms(config):
        if unused.get(path, False):
            yield path, "is given; there is no norm in that place"


def _own_norms(config: Architecture) -> dict[str, NormConfig]:
    """Return the norms that are configured for one place, by path."""
    norms = {
        "attention.qk_norm_config": config.attention.qk_norm_config,
        "attention.norm": config.attention.norm,
        "feedforward.norm": config.feedforward.norm,
        "embedding.norm_config": config.embedding.norm_config,
        "final_norm_config": config.final_norm_config,
    }
    return {path: norm for path, norm in norms.items() if norm is not None}


def _has_norms(config: Architecture, sublayer: str) -> bool:
    return any(config.slots(layer, sublayer).names for layer in range(config.n_layers))


def _norm(path: str, norm: NormConfig) -> Refusals:
    if norm.gain_offset and not norm.gain:
        yield f"{path}.gain_offset", f"got {norm.gain_offset:g}; must be 0 where gain is false"
    if norm.alpha0 != NormConfig().alpha0 and norm.kind not in ("dyt", "derf"):
        yield f"{path}.alpha0", f"got {norm.alpha0:g}; only the kinds dyt and derf have an α, not {norm.kind}"


def _positions(config: Architecture) -> Refusals:
    position, default = config.position, type(config.position)()
    if position.kind != "rope":
        for name in ("theta", "theta_local", "rotary_fraction", "layout", "rescale_local"):
            if getattr(position, name) != getattr(default, name):
                yield f"position.{name}", f"got {getattr(position, name)}; needs position.kind rope"
        if position.rescale.kind != "none":
            yield "position.rescale.kind", f"got {position.rescale.kind}; needs position.kind rope"
        return
    if config.rotary_dim < 2 or config.rotary_dim % 2:
        share = f"got {position.rotary_fraction:g} of head_dim {config.head_dim}"
        yield "position.rotary_fraction", f"{share}; must leave an even number of features to rotate"
    if position.theta_local is not None and all(kind.span != "sliding" for kind in config.pattern):
        yield "position.theta_local", f"got {position.theta_local:g}; needs a sliding layer in the pattern"


def _rescale(config: Architecture) -> Refusals:
    section, default = config.position.rescale, type(config.position.rescale)()
    for name, kinds in _RESCALE_KINDS.items():
        got = getattr(section, name)
        if got != getattr(default, name) and section.kind not in kinds:
            shown = "a list" if isinstance(got, tuple) else got
            yield f"position.rescale.{name}", f"got {shown}; needs position.rescale.kind {' or '.join(kinds)}"
        if got is None and section.kind in kinds and name != "attention_factor":
            yield f"position.rescale.{name}", f"is required for position.rescale.kind {section.kind}"
    if section.kind == "none" or config.position.kind != "rope":
        if not config.position.rescale_local:
            yield "position.rescale_local", "got false; needs position.rescale.kind"
        return
    yield from _rescale_limits(config)


def _rescale_limits(config: Architecture) -> Refusals:
    section = config.position.rescale
    for low, high in (("low_freq", "high_freq"), ("beta_slow", "beta_fast")):
        least, got = getattr(section, low), getattr(section, high)
        if got <= least:
            yield f"position.rescale.{high}", f"got {got:g}; must be above {low} {least:g}"
    turn = 2 * math.pi * section.beta_slow
    if section.kind == "yarn" and (section.original_len or 0) <= turn:
        reason = f"must be above {turn:.3g}, or the fastest pair does not turn beta_slow times in it"
        yield "position.rescale.original_len", f"got {section.original_len}; {reason}"
    for name in ("short", "long"):
        divisors = getattr(section, name) or ()
        if section.kind == "longrope" and len(divisors) != config.rotary_dim // 2:
            pairs = f"one for each of {config.rotary_dim // 2} pairs of features"
            yield f"position.rescale.{name}", f"got {len(divisors)} numbers; must be {pairs}"
        if any(divisor <= 0 for divisor in divisors):
            yield f"position.rescale.{name}", f"got {min(divisors):g}; all must be greater than 0"
    for name in ("theta", "theta_local"):
        base = getattr(config.position, name)
        if section.kind == "yarn" and base is not None and base <= 1:
            yield f"position.{name}", f"got {base:g}; must be greater than 1 for position.rescale.kind yarn"
    spans = {kind.span for kind in config.pattern}
    if not config.position.rescale_local and "sliding" not in spans:
        yield "position.rescale_local", "got false; needs a sliding layer in the pattern"
    if not config.position.rescale_local and spans == {"sliding"}:
        yield "position.rescale_local", "got false; all layers slide, say rescale.kind none"


def _sine(config: Architecture) -> Refusals:
    position, default = config.position, type(config.position)()
    for name in ("sine_layout", "sine_closed", "sine_start"):
        if position.kind != "sine" and getattr(position, name) != getattr(default, name):
            yield f"position.{name}", f"got {getattr(position, name)}; needs position.kind sine"


def _buckets(config: Architecture) -> Refusals:
    position, default = config.position, type(config.position)()
    if position.kind != "t5_bias":
        for name in ("buckets", "max_distance"):
            if getattr(position, name) != getattr(default, name):
                yield f"position.{name}", f"got {getattr(position, name)}; needs position.kind t5_bias"
    elif position.max_distance <= position.buckets // 2:
        least = position.buckets // 2 + 1
        yield (
            "position.max_distance",
            f"got {position.max_distance}; must be at least {least}, over half the buckets",
        )


def _pattern(config: Architecture) -> Refusals:
    if not config.pattern:
        yield "pattern", "got an empty list; must hold at least one kind of layer"
    positioned = config.position.kind in ("rope", "alibi", "t5_bias")
    if positioned and not any(kind.position for kind in config.pattern):
        yield "position.kind", f"got {config.position.kind}; no layer of the pattern has a position, say none"
    for i, kind in enumerate(config.pattern):
        if kind.span == "full" and kind.window is not None:
            yield f"pattern.{i}.window", f"got {kind.window}; a full layer has none"
        if kind.span != "full" and kind.window is None:
            yield f"pattern.{i}.window", f"is required for a {kind.span} layer"
        if not kind.position and not positioned:
            reason = f"got false; position.kind {config.position.kind} enters before the first layer"
            yield f"pattern.{i}.position", reason
        if not kind.qk_norm and config.attention.qk_norm == "none":
            yield f"pattern.{i}.qk_norm", "got false; attention.qk_norm is none"


def _qk_norm(config: Architecture) -> Refusals:
    section = config.attention
    if section.qk_norm == "none":
        if section.qk_norm_config is not None:
            yield "attention.qk_norm_config", "needs attention.qk_norm head or full"
        if section.v_norm:
            yield "attention.v_norm", "got true; needs attention.qk_norm head or full"
        if section.qk_norm_at != "pre_rope":
            yield "attention.qk_norm_at", "got post_rope; needs attention.qk_norm head"
    if section.qk_gain_per_head and (section.qk_norm != "head" or not config.qk_norm.gain):
        yield "attention.qk_gain_per_head", "got true; needs attention.qk_norm head, with a gain"
    if section.qk_gain_per_head and config.qk_norm.bias:
        yield "attention.qk_gain_per_head", "got true; goes without a bias in attention.qk_norm_config"
    if section.qk_norm_at == "post_rope" and section.qk_norm == "full":
        yield "attention.qk_norm_at", "got post_rope; the full-width norm stands before the split into heads"
    if section.qk_norm_at == "post_rope" and config.position.kind != "rope":
        yield "attention.qk_norm_at", f"got post_rope; needs position.kind rope, not {config.position.kind}"


def _temperature(config: Architecture) -> Refusals:
    section = config.attention
    if section.temperature_floor is None:
        for name in ("scale", "start", "layers"):
            if getattr(section, f"temperature_{name}") != getattr(type(section)(), f"temperature_{name}"):
                yield f"attention.temperature_{name}", "needs attention.temperature_floor"
    elif section.temperature_layers == "no_position" and all(kind.position for kind in config.pattern):
        reason = "needs a layer without position in the pattern, or attention.temperature_layers all"
        yield "attention.temperature_floor", reason


def _feedforward(config: Architecture) -> Refusals:
    section = config.feedforward
    if section.alpha != 1 and section.activation != "silu":
        yield "feedforward.alpha", f"got {section.alpha:g}; needs feedforward.activation silu"
    if section.up_offset and not section.gated:
        yield "feedforward.up_offset", f"got {section.up_offset:g}; needs feedforward.gated"
    if section.d_ff is not None and section.ratio is not None:
        yield "feedforward.ratio", f"got {section.ratio:g}; d_ff {section.d_ff} says the width already"


def _order(config: Architecture) -> Refusals:
    wirings = _wirings(config)
    if config.order == "serial":
        if config.shared_norm:
            yield "shared_norm", "got true; needs order parallel"
        return
    if any(attn != mlp for attn, mlp in wirings):
        yield "order", "got parallel; attention and feedforward must have the same wiring"
    if any("lerp" in pair for pair in wirings):
        yield "order", "got parallel; the wiring lerp takes one branch at a time"
    for name in ("skip_scale", "gpas"):
        if getattr(config.residual_of("attn"), name) != getattr(config.residual_of("mlp"), name):
            yield "order", f"got parallel; both branches must have the same residual.{name}, the stream's"
    if config.shared_norm and not all(config.slots(i, "attn").branch_in for i in range(config.n_layers)):
        yield "shared_norm", "got true; needs a wiring with a norm at the branches' start in every layer"


def _residual(config: Architecture) -> Refusals:
    attn, mlp = ({pair[i] for pair in _wirings(config)} for i in (0, 1))
    own = (
        ("attention.residual", config.attention.residual, attn),
        ("feedforward.residual", config.feedforward.residual, mlp),
    )
    shared = {name for _, section, wirings in own if section is None for name in wirings}
    for path, section, wirings in (("residual", config.residual, shared), *own):
        if section is not None and wirings:
            yield from _joining(path, section, wirings)


def _joining(path: str, section: ResidualConfig, wirings: set[str]) -> Refusals:
    """Refuse what the wirings of a section's sublayers leave no room for."""
    for name, neutral in (("skip_scale", 1), ("branch_scale", 1), ("branch_depth_exponent", 0)):
        value = getattr(section, name)
        if value != neutral and "lerp" in wirings:
            yield f"{path}.{name}", f"got {value:g}; the wiring lerp weighs line and branch itself"
    if section.skip_scale != 1 and "deepnorm" in wirings:
        yield f"{path}.skip_scale", f"got {section.skip_scale:g}; the wiring deepnorm sets it itself"
    if section.gate_init is not None and section.gate == "none" and "lerp" not in wirings:
        yield f"{path}.gate_init", f"got {section.gate_init:g}; needs {path}.gate scalar or vector"
    if section.depth_scale != "none" and not wirings & {"pre_norm", "double_norm"}:
        yield f"{path}.depth_scale", f"got {section.depth_scale}; needs the wiring pre_norm or double_norm"


def _overrides(config: Architecture) -> Refusals:
    for i, override in enumerate(config.overrides):
        if not override.layers:
            yield f"overrides.{i}.layers", "got an empty list; must hold at least one layer"
        for layer in override.layers:
            if not 0 <= layer < config.n_layers:
                yield (
                    f"overrides.{i}.layers",
                    f"got {layer}; must be at least 0 and below n_layers {config.n_layers}",
                )


def _initialization(config: Architecture) -> Refusals:
    section = config.initialization
    if section.zero_head and config.head.tied:
        yield "initialization.zero_head", "got true; head.tied would zero the embedding"
    if section.std != type(section)().std and section.scheme not in ("normal", "gpt2", "llama_depth"):
        yield "initialization.std", f"got {section.std:g}; the scheme {section.scheme} sets it by itself"


def _mup(config: Architecture) -> Refusals:
    """Refuse what would make a size depend on the width in another way than the scheme mup takes care of."""
    base = config.initialization.mup_base_width
    if config.initialization.scheme != "mup":
        if base is not None:
            yield "initialization.mup_base_width", f"got {base}; needs the scheme mup"
        return
    if base is None:
        yield "initialization.mup_base_width", "is required for the scheme mup"
    scale = config.attention.logit_scale
    if isinstance(scale, str) and scale != "inv_head_dim":
        yield "attention.logit_scale", f"got {scale}; the scheme mup needs inv_head_dim, or a number"
    for path, value in (
        ("embedding.scale", config.embedding.scale),
        ("feedforward.pre_scale", config.feedforward.pre_scale),
        ("head.scale", config.head.scale),
    ):
        if isinstance(value, str):
            yield path, f"got {value}; the scheme mup needs a number, the same at every width"
    for path, norm in {"norm": config.norm, **_own_norms(config)}.items():
        if norm.kind == "l2":
            yield f"{path}.kind", "got l2; features shrink with the width there, the scheme mup needs another"


def _unit_weights(config: Architecture) -> Refusals:
    section = config.initialization
    if not config.unit_weights:
        return
    for name in ("zero_branch_out", "zero_head"):
        if getattr(section, name):
            yield f"initialization.{name}", "got true; with unit_weights no vector has length 0"
    if section.scheme == "mup":
        yield (
            "initialization.scheme",
            "got mup; with unit_weights no matrix keeps the scale of its draw",
        )


_STRETCHING = ("linear", "dynamic", "llama3", "yarn", "longrope")
_RESCALE_KINDS: dict[str, tuple[str, ...]] = {
    "factor": _STRETCHING,
    "original_len": _STRETCHING[1:],
    "low_freq": ("llama3",),
    "high_freq": ("llama3",),
    "beta_slow": ("yarn",),
    "beta_fast": ("yarn",),
    "truncate": ("yarn",),
    "short": ("longrope",),
    "long": ("longrope",),
    "attention_factor": ("yarn", "longrope"),
}
"""The kinds of rescaling that read a field; one without a default is required there."""


def _wirings(config: Architecture) -> list[tuple[str, str]]:
    return [(config.wiring_of(i, "attn"), config.wiring_of(i, "mlp")) for i in range(config.n_layers)]


_RULES: tuple[Callable[[Architecture], Refusals], ...] = (
    _heads,
    _pattern,
    _norms,
    _positions,
    _rescale,
    _sine,
    _buckets,
    _qk_norm,
    _temperature,
    _feedforward,
    _overrides,
    _order,
    _residual,
    _initialization,
    _mup,
    _unit_weights,
)
"""In the order in which somebody would want to hear of them."""
