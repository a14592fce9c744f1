"""Turn what somebody typed into a frozen configuration, or into one line that says what is wrong with it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from stabilitykit.errors import ConfigError, closest

_REFUSAL = "refusal"


class Config(BaseModel):
    """Base of every section of the configuration: frozen, finite, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_pydantic_lets_pass(cls, data: Any) -> Any:
        """Name the closest field for an unknown key; a bool is a number to pydantic, never to us."""
        if not isinstance(data, Mapping):
            return data
        for key, value in data.items():
            if key not in cls.model_fields:
                raise refusal(str(key), f"not a known field; {closest(str(key), cls.model_fields)}")
            if isinstance(value, bool) and not _takes_bool(cls.model_fields[key].annotation):
                raise refusal(key, f"got {value}; must not be a truth value")
        return data


ConfigT = TypeVar("ConfigT", bound=BaseModel)


def refusal(path: str, reason: str) -> PydanticCustomError:
    """Return the error a validator raises to name a field other than the one pydantic would name.

    Args:
        path: Dotted path of the field, seen from the section the validator belongs to.
        reason: What was got and what is accepted.
    """
    # Pydantic takes no lone surrogates, as they come from bytes that are no UTF-8.
    told = {"path": path, "reason": reason}
    plain = {name: text.encode(errors="replace").decode() for name, text in told.items()}
    return PydanticCustomError(_REFUSAL, "{path}: {reason}", plain)


def validated(cls: type[ConfigT], mapping: object, where: str = "model") -> ConfigT:
    """Return the configuration that a mapping describes.

    Args:
        cls: The section's class.
        mapping: Field names to values, nested as the section is, as they came out of a file or a command
            line; text is parsed by the field's type.
        where: The section's name, with which every message begins; empty where fields stand alone.

    Raises:
        ConfigError: Something is unknown, missing or out of range. One line, for example
            ``model.d_model: got -3; must be greater than 0``.
    """
    try:
        return cls.model_validate(mapping)
    except ValidationError as error:
        raise ConfigError(_one_line(error, cls, where)) from None


def _one_line(error: ValidationError, cls: type[BaseModel], where: str) -> str:
    by_path: dict[str, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        by_path.setdefault(".".join([*([where] if where else []), *_fields(details["loc"], cls)]), []).append(
            details
        )
    path, errors = next(iter(by_path.items()))
    line = " ".join(_describe(errors, path).split())
    return f"{line} (and {len(by_path) - 1} more)" if len(by_path) > 1 else line


def _fields(loc: tuple[int | str, ...], cls: Any) -> Iterator[str]:
    """Yield the fields and places in lists that lead to an error, without pydantic's branches of unions."""
    for part in loc:
        if isinstance(part, int):
            yield str(part)
        elif part in getattr(cls, "model_fields", {}):
            yield part
            cls = _section(cls.model_fields[part].annotation)


def _section(annotation: Any) -> Any:
    """Return the section that an annotation holds, alone, optional or in a tuple."""
    sections = [a for a in (annotation, *get_args(annotation)) if hasattr(a, "model_fields")]
    return sections[0] if sections else None


def _describe(errors: list[ErrorDetails], path: str) -> str:
    """Return the line for all errors of one field; there are several where each branch of a union refused."""
    error = errors[0]
    context = error.get("ctx", {})
    if error["type"] == _REFUSAL:
        return f"{path}.{context['path']}: {context['reason']}".removeprefix(".")
    if error["type"] == "missing":
        return f"{path}: is required"
    reasons = [_reason(each) for each in errors]
    return f"{path}: got {_short(error['input'])}; {', or '.join(reasons)}"


def _reason(error: ErrorDetails) -> str:
    accepted = _ACCEPTED.get(error["type"])
    return accepted(error.get("ctx", {}), error["input"]) if accepted else _lower_first(error["msg"])


def _literal(context: Mapping[str, Any], value: Any) -> str:
    words = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
    return closest(str(value), words)


def _must_be(what: str) -> Callable[[Mapping[str, Any], Any], str]:
    return lambda context, _value: f"must be {what.format_map(context)}"


_ACCEPTED: dict[str, Callable[[Mapping[str, Any], Any], str]] = {
    "literal_error": _literal,
    "greater_than": _must_be("greater than {gt:g}"),
    "greater_than_equal": _must_be("at least {ge:g}"),
    "less_than": _must_be("less than {lt:g}"),
    "less_than_equal": _must_be("at most {le:g}"),
    "finite_number": _must_be("finite"),
    **dict.fromkeys(("bool_type", "bool_parsing"), _must_be("true or false")),
    **dict.fromkeys(("tuple_type", "list_type"), _must_be("a list")),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _must_be("a whole number")),
    **dict.fromkeys(("float_type", "float_parsing"), _must_be("a number")),
    **dict.fromkeys(("model_type", "model_attributes_type"), _must_be("a mapping of field names to values")),
    "path_type": _must_be("a path"),
}
"""What is accepted instead, by pydantic's name of the error; its own words serve for the rest."""


def _takes_bool(annotation: Any) -> bool:
    return annotation is bool or bool in get_args(annotation)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
