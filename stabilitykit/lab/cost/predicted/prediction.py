"""The prediction as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stabilitykit.lab.cost.cost import Cost
from stabilitykit.lab.cost.predicted.memory import memory_needed
from stabilitykit.lab.cost.predicted.operations import model_operations
from stabilitykit.lab.cost.predicted.optimizer import OptimizerName, optimizer_state, optimizer_step
from stabilitykit.lab.cost.predicted.traffic import Case
from stabilitykit.lab.cost.workload import Workload, check_workload
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.parameter_count import parameters_by_name


@dataclass(frozen=True)
class Prediction(Cost):
    """What a model costs at a workload, computed from its configuration alone."""

    case: Case
    optimizer: OptimizerName

    def described(self) -> Mapping[str, Any]:
        """Return the workload, the optimizer and the configuration."""
        workload = self.case.workload
        return {
            "mode": workload.mode,
            "batch": workload.batch,
            "length": workload.length,
            "dtype": workload.dtype,
            "optimizer": self.optimizer if workload.mode == "train" else None,
            "config": self.case.config.resolved().model_dump(mode="json"),
        }


def predict(config: TransformerConfig, workload: Workload, optimizer: OptimizerName = "adamw") -> Prediction:
    """Return what a model costs; no weight is built and nothing large is allocated.

    Args:
        config: The model, of any size.
        workload: What it is asked to do.
        optimizer: What steps, in training.

    Raises:
        ConfigError: The model could not be given that workload.
    """
    check_workload(workload, config)
    case, parameters = Case(config, workload), parameters_by_name(config)
    operations = model_operations(case, parameters)
    state = 0
    if workload.mode == "train":
        operations += optimizer_step(case, optimizer, parameters)
        state = optimizer_state(case, optimizer, parameters)
    return Prediction(tuple(operations), memory_needed(case, operations, state), case, optimizer)
