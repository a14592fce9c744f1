"""Rules of the user's own about sites: more of them, other names, and those to leave out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from stabilitykit.errors import ConfigError, closest
from stabilitykit.observe.site import Layout, Role, Site

_KEYS = ("add", "rename", "mute")
_NAME = re.compile(r"[a-z0-9_.*]+")


@dataclass(frozen=True, slots=True)
class SiteRules:
    """Which sites to add, rename and leave out, by pattern; ``*`` stands for any text."""

    add: Mapping[str, str] = field(default_factory=dict)
    """Site's name to the path of the module whose output it is; a ``*`` in the name takes the path's text."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Pattern of a site's name to its new name; each ``*`` keeps its text."""
    mute: Sequence[str] = ()
    """Patterns of names that are not watched: sites, parameter groups, norms."""

    @classmethod
    def load(cls, path: str | Path) -> "SiteRules":
        """Return the rules in a YAML file with any of the keys ``add``, ``rename`` and ``mute``.

        Raises:
            ConfigError: The file cannot be read, or says something else.
        """
        try:
            found = yaml.safe_load(Path(path).read_text("utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"sites: {path} cannot be read: {' '.join(str(error).split())}") from None
        return cls.of(found)

    @classmethod
    def of(cls, value: Any) -> "SiteRules":
        """Return rules from rules, a file's path, a mapping, or None for none.

        Raises:
            ConfigError: The value is something else, or has an unknown key; names it.
        """
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if isinstance(value, str | Path):
            return cls.load(value)
        if not isinstance(value, Mapping):
            raise ConfigError(f"sites: got {value!r}; must be rules, a mapping or the path of a YAML file")
        for key in value:
            if key not in _KEYS:
                raise ConfigError(f"sites.{key}: not a known key; {closest(str(key), _KEYS)}")
        mute = value.get("mute") or ()
        return cls(
            add=_texts("add", value.get("add")),
            rename=_texts("rename", value.get("rename")),
            mute=tuple(_text("mute", each) for each in ([mute] if isinstance(mute, str) else mute)),
        )

    def save(self, path: str | Path) -> None:
        """Write the rules to a YAML file that ``load`` reads."""
        kept = {"add": dict(self.add), "rename": dict(self.rename), "mute": list(self.mute)}
        Path(path).write_text(yaml.safe_dump({key: value for key, value in kept.items() if value}), "utf-8")

    def muted(self, name: str) -> bool:
        """Return whether a name is left out."""
        return any(fnmatchcase(name, pattern) for pattern in self.mute)


def applied(rules: SiteRules, layout: Layout, model: nn.Module) -> Layout:
    """Return a layout with the rules applied: first what is added, then new names, then what is left out.

    Args:
        rules: The rules.
        layout: What was found.
        model: The model, for the paths of added modules.

    Raises:
        ConfigError: A pattern of ``add`` fits no module.
    """
    sites = [*layout.sites, *(site for name, path in rules.add.items() for site in _added(name, path, model))]
    renamed = [_with_name(site, _renamed(rules, site.name)) for site in sites]
    return replace(
        layout,
        sites=tuple(site for site in renamed if not rules.muted(site.name)),
        groups={name: paths for name, paths in layout.groups.items() if not rules.muted(name)},
        gains={name: path for name, path in layout.gains.items() if not rules.muted(name)},
        hidden={name: site for name, site in layout.hidden.items() if not rules.muted(name)},
        routers={name: router for name, router in layout.routers.items() if not rules.muted(name)},
    )


def _added(name: str, pattern: str, model: nn.Module) -> list[Site]:
    paths = dict(model.named_modules())
    fits = [(path, match) for path in paths if (match := _expression(pattern).fullmatch(path))]
    if not fits:
        raise ConfigError(f"sites.add.{name}: got {pattern!r}, no module's path; {closest(pattern, paths)}")
    return [Site(_filled(name, match.groups()), path, Role.ACTIVATION) for path, match in fits]


def _with_name(site: Site, name: str) -> Site:
    return site if name == site.name else replace(site, name=name, renamed_from=site.name)


def _renamed(rules: SiteRules, name: str) -> str:
    for pattern, new in rules.rename.items():
        if match := _expression(pattern).fullmatch(name):
            return _filled(new, match.groups())
    return name


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile("(.*)".join(re.escape(part) for part in pattern.split("*")))


def _filled(name: str, texts: Sequence[str]) -> str:
    for text in texts:
        name = name.replace("*", re.sub(r"[^a-z0-9_.]", "_", text.lower()), 1)
    return name


def _texts(key: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"sites.{key}: got {value!r}; must map names to patterns")
    named = {_text(key, k): _text(key, v) for k, v in value.items()}
    for name in named if key == "add" else named.values():
        if not _NAME.fullmatch(name):
            raise ConfigError(f"sites.{key}: got the name {name!r}; accepted: a-z, 0-9, '_', '.' and '*'")
    return named


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"sites.{key}: got {value!r}; must be a text")
    return value
