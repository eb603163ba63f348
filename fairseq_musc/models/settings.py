"""What a training was told, so that it can be told again: the settings in the configuration of its checkpoint."""

from __future__ import annotations

import enum
from importlib.resources import files
from typing import Any

#: The recipe that settings are told as changes of; which one it is makes no difference.
RECIPE = "musc_pawsx"

#: Sections of fairseq's own; of these what is not fairseq's default is kept, and what the recipe names.
SECTIONS = ("common", "dataset", "optimization", "checkpoint", "distributed_training", "ema")
#: Sections that hold a registered component; of these everything is kept.
COMPONENTS = ("task", "model", "criterion", "optimizer", "lr_scheduler")
#: Of what processes share, all that decides a result; the rest is where they are.
OF_PROCESSES = ("distributed_world_size", "ddp_backend", "find_unused_parameters")
#: What decides nothing about the result: where the checkpoints go, what is logged, and who loads the rows.
LEFT_OUT = {
    *("checkpoint.save_dir", "checkpoint.restore_file", "common.log_format", "common.log_interval", "common.log_file"),
    *("common.tensorboard_logdir", "common.user_dir", "common.wandb_project", "common.no_progress_bar"),
    *("dataset.num_workers", "common.reset_logging"),
}
#: Fields of the model that are made when it is built, and so need not be told.
MADE = {"encoder_config", "labels", "tokenizer_fingerprint"}


def settings_of(cfg: Any) -> dict[str, Any]:
    """``section.key`` -> value, as in a recipe, for all that decided what a run computes.

    Args:
        cfg: the whole configuration of a run, as its checkpoint holds it.

    Returns:
        plain values; ``model.trained_on`` tells the training corpora with their checksums.
    """
    from fairseq.dataclass.configs import FairseqConfig

    said = said_by_the_recipe()
    found: dict[str, Any] = {}
    for section in SECTIONS:
        defaults = FairseqConfig.__dataclass_fields__[section].type()
        for key, value in _plain(cfg[section]).items():
            if section == "distributed_training":
                kept = key in OF_PROCESSES
            else:
                default = getattr(defaults, key, None)
                kept = f"{section}.{key}" in said or value != _resolved(default, cfg)
            if kept:
                found[f"{section}.{key}"] = value
    for section in COMPONENTS:
        values = _plain(cfg[section])
        fields = _dataclass_of(section, values["_name"]).__dataclass_fields__
        for key, value in values.items():
            default = fields[key].default if key in fields else None
            follows = _interpolates(default) and _same(value, _resolved(default, cfg))  # another section says it
            if not follows and key not in MADE:
                found[f"{section}.{key}"] = value
    return {key: value for key, value in sorted(found.items()) if key not in LEFT_OUT}


def _interpolates(default: Any) -> bool:
    return isinstance(default, str) and default.startswith("${")


def _resolved(default: Any, cfg: Any) -> Any:
    """A default as a plain value; one that is taken from another section as that says."""
    from omegaconf import OmegaConf

    if _interpolates(default):
        value = OmegaConf.select(cfg, default[2:-1])
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return default.value if isinstance(default, enum.Enum) else default


def _same(value: Any, other: Any) -> bool:
    """Whether they are the same setting: an enumeration is saved as its text."""
    return bool(value == other) or str(value) == str(other)


def said_by_the_recipe() -> dict[str, Any]:
    """``section.key`` -> value of :data:`RECIPE`; an interpolation is text, and what must be given is ``???``."""
    import yaml

    recipe = yaml.safe_load((files("fairseq_musc.configs") / f"{RECIPE}.yaml").read_text(encoding="utf-8"))
    return {f"{section}.{key}": value for section, keys in recipe.items() for key, value in keys.items()}


def _plain(section: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(section, resolve=True, enum_to_str=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _dataclass_of(section: str, name: str) -> Any:
    """What is registered with a component."""
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    if section == "task":
        return TASK_DATACLASS_REGISTRY[name]
    if section == "model":
        return MODEL_DATACLASS_REGISTRY[name]
    return REGISTRIES[section]["dataclass_registry"][name]
