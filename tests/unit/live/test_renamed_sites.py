"""A user's name for a site is an alias: what detectors and pictures ask is what the site is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stabilitykit import diagnose, open_run, watch
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.records import Verdict
from stabilitykit.store.charts import is_charted, layout
from stabilitykit.tags import split

RENAME = {"blocks.*.resid_post": "layer.*.out", "blocks.*.resid_mid": "layer.*.middle"}
STEPS = 60


def blow_up(folder: Path, **options: Any) -> Verdict:
    """Train a model whose second block's branch grows by half a step from step 30 on."""
    model = Transformer(TransformerConfig(d_model=16, n_layers=2, seq_len=16), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    tokens = torch.randint(0, 256, (2, 16), generator=torch.Generator().manual_seed(0))
    with watch(model, optimizer, folder, on_incident=lambda incident: None, **options) as monitor:
        for step in range(STEPS):
            if step >= 30:
                with torch.no_grad():
                    model.blocks[1].mlp.down_proj.weight.mul_(1.5)
            logits = model(tokens)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
        return monitor.verdict()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Verdict, Verdict]:
    """The same run with conventional names and with the user's."""
    folder = tmp_path_factory.mktemp("runs")
    plain, renamed = folder / "plain", folder / "renamed"
    return plain, renamed, blow_up(plain), blow_up(renamed, sites={"rename": RENAME})


def alarms(verdict: Verdict) -> list[tuple[str, int, int, str]]:
    """Return kind, steps and severity of the incidents."""
    return [(i.kind, i.start, i.detected, str(i.severity)) for i in verdict.incidents]


def test_a_renamed_site_raises_the_same_alarms(both):
    _, _, expected, verdict = both
    assert "activation_blow_up" in [incident.kind for incident in expected.incidents]
    assert alarms(verdict) == alarms(expected)
    assert {i.site for i in verdict.incidents if i.kind == "activation_blow_up"} == {"layer.01.out"}


def test_the_folder_says_what_a_site_is(both):
    plain, renamed, _, verdict = both
    assert diagnose(renamed) == verdict
    run = open_run(renamed)
    assert run.renamed["layer.01.out"] == "blocks.01.resid_post"
    assert open_run(plain).renamed == {}


def test_no_reading_is_lost(both):
    plain, renamed, *_ = both
    names = {name: site for site, name in open_run(renamed).renamed.items()}
    expected = set()
    for tag in open_run(plain).tags:
        family, site = split(tag)
        expected.add(f"{family}/{names[site]}" if site in names else tag)
    assert set(open_run(renamed).tags) == expected
    assert any(tag.startswith("act/kurtosis") and "layer" in tag for tag in expected)


def test_pictures_show_it(both):
    _, renamed, *_ = both
    run = open_run(renamed)
    assert is_charted("act/rms/layer.01.out", run.renamed)
    assert not is_charted("act/rms/layer.01.out")
    assert b"layer\\.01\\.out" in layout(run.tags, run.renamed).SerializeToString()
