"""Every installed recipe is whole, composes, and holds the published values."""

import re
from pathlib import Path

import pytest
from fairseq.dataclass.initialize import add_defaults, hydra_init
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import fairseq_musc.configs
import fairseq_musc.registration
from fairseq_musc.criterions.musc import MuscCriterionConfig
from fairseq_musc.models.classifier import MuscClassifierConfig
from fairseq_musc.optim import MuscAdamConfig
from fairseq_musc.tasks.musc import MuscTaskConfig

FOLDER = Path(fairseq_musc.configs.__path__[0])
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
INTERPOLATED = {"_name", "seed", "save_dir", "no_save", "restore_file", "lr", "fp16", "bf16"}  # from other sections
INTERPOLATED |= {"amp", "patience", "max_update", "finetune_from_model"}
COMPONENTS = {
    "task": MuscTaskConfig,
    "model": MuscClassifierConfig,
    "criterion": MuscCriterionConfig,
    "optimizer": MuscAdamConfig,
}
FILLED_IN = {"encoder_config", "labels", "tokenizer_fingerprint", "trained_on"}  # by the task, at the first build


def composed(name, *overrides):
    GlobalHydra.instance().clear()
    hydra_init(name)
    with initialize_config_dir(str(FOLDER.resolve()), version_base="1.1"):
        cfg = compose(name, ["task.data=somewhere", *overrides])
    add_defaults(cfg)
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


def test_there_is_a_recipe_for_every_dataset_of_the_paper():
    assert RECIPES == ["musc_marc", "musc_mldoc", "musc_pawsx", "musc_xnli"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_every_option_of_our_components(name):
    written = OmegaConf.load(FOLDER / f"{name}.yaml")
    assert "defaults" not in written
    for section, dataclass in COMPONENTS.items():
        fields = {key for key in dataclass.__dataclass_fields__ if key not in FILLED_IN | INTERPOLATED}
        assert set(written[section]) - {"_name"} == fields, section


@pytest.mark.parametrize("name", RECIPES)
def test_every_option_has_help_and_every_value_passes_its_checks(name):
    cfg = composed(name)
    for section, dataclass in COMPONENTS.items():
        assert dataclass.problems(cfg[section]) == []
        for key, entry in dataclass.__dataclass_fields__.items():
            if key not in INTERPOLATED:
                assert entry.metadata["help"], key
    assert Path(cfg.common.user_dir, "__init__.py").exists()
    assert cfg.task.seed == cfg.common.seed


@pytest.mark.parametrize("name", RECIPES)
def test_the_constants_of_the_released_code_are_the_defaults(name):
    cfg = composed(name)
    loss = {key: cfg.criterion[key] for key in MuscCriterionConfig.__dataclass_fields__ if key not in ("_name", "lam")}
    assert loss == {
        "terms": "ce+mu+sc+musc",
        "tau": 0.3,
        "normalisation": "released",
        "supcon_log": None,
        "supcon_reduction": None,
        "supcon_scale": None,
        "supcon_epsilon": None,
        "weight_S": None,
        "weight_T": None,
        "mixup_beta": 1.0,
        "gather": False,
        "not_finite": "stop",
    }
    assert loss == {key: MuscCriterionConfig.__dataclass_fields__[key].default for key in loss}
    assert (cfg.model.projector_size, cfg.model.mix_at) == (128, "embedding_output")
    assert cfg.dataset.batch_size == 32
    assert cfg.dataset.required_batch_size_multiple == 1
    assert cfg.dataset.validate_interval_updates == cfg.checkpoint.save_interval_updates == 300
    assert (cfg.checkpoint.best_checkpoint_metric, cfg.checkpoint.maximize_best_checkpoint_metric) == ("accuracy", True)
    optimizer = (cfg.optimizer._name, cfg.optimizer.adam_betas, cfg.optimizer.adam_eps, cfg.optimizer.weight_decay)
    assert optimizer == ("musc_adam", "(0.9, 0.999)", 1e-8, 0)
    assert (cfg.lr_scheduler._name, cfg.optimization.clip_norm, cfg.common.seed) == ("fixed", 0, 3)


@pytest.mark.parametrize(
    ("name", "lr", "lam", "epochs"),
    [
        ("musc_pawsx", 1e-5, 0.9, 4),
        ("musc_xnli", 1e-5, 0.9, 2),
        ("musc_marc", 3e-5, 0.9, 4),
        ("musc_mldoc", 3e-5, 0.5, 10),
    ],
)
def test_the_values_of_table_7_and_appendix_b(name, lr, lam, epochs):
    """The line L_mu of Table 7, see the recipes; of MLDoc's "0.5/0.9" the first."""
    cfg = composed(name)
    assert (list(cfg.optimization.lr), cfg.criterion.lam, cfg.optimization.max_epoch) == ([lr], lam, epochs)
    assert cfg.model.pretrained == "bert-base-multilingual-cased"
    assert cfg.checkpoint.save_dir == f"checkpoints/{name}"
    assert (list(cfg.task.train_corpora), list(cfg.task.valid_corpora)) == (
        ["S_trn", "T_trn_MT"],
        ["T_val", "S_val_MT"],
    )


def test_recipes_differ_in_nothing_but_the_published_values():
    """Whoever changes a constant in one recipe changes it in all."""
    plain = [OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"), resolve=False) for name in RECIPES]
    for recipe in plain:
        recipe["optimization"]["lr"] = recipe["optimization"]["max_epoch"] = None
        recipe["criterion"]["lam"] = recipe["checkpoint"]["save_dir"] = None
    assert all(recipe == plain[0] for recipe in plain[1:])


def algorithms_in_the_docs():
    """Table 2 in docs/algorithms.md: algorithm -> overrides."""
    text = (Path(__file__).parents[1] / "docs" / "algorithms.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (ZSXL|translate-\w+) \| `([^`]+)` \|", text, flags=re.MULTILINE)
    return {name: overrides.split() for name, overrides in rows}


@pytest.mark.parametrize("name", RECIPES)
def test_the_algorithms_of_table_2_are_overrides_of_every_recipe(name):
    expected = {
        "ZSXL": (["S_trn"], ["T_val"], "bert-base-multilingual-cased"),
        "translate-train": (["S_trn", "T_trn_MT"], ["T_val"], "bert-base-multilingual-cased"),
        "translate-test": (["S_trn"], ["S_val_MT"], "bert-base-cased"),
        "translate-all": (["S_trn", "T_trn_MT"], ["T_val", "S_val_MT"], "bert-base-multilingual-cased"),
    }
    in_docs = algorithms_in_the_docs()
    assert set(in_docs) == set(expected)
    for algorithm, overrides in in_docs.items():
        cfg = composed(name, *overrides)
        assert all(component.problems(cfg[section]) == [] for section, component in COMPONENTS.items())
        got = (list(cfg.task.train_corpora), list(cfg.task.valid_corpora), cfg.model.pretrained)
        assert got == expected[algorithm]
        assert cfg.criterion.terms == "ce"


@pytest.mark.parametrize("name", RECIPES)
def test_checkpoints_are_chosen_every_300_updates_on_validation_data_and_never_on_test(name):
    cfg = composed(name)
    assert cfg.dataset.validate_interval_updates == cfg.checkpoint.save_interval_updates == 300
    assert cfg.checkpoint.best_checkpoint_metric == "accuracy"
    for corpus in ("T_tst", "S_tst_MT"):
        problems = MuscTaskConfig.problems(composed(name, f"task.valid_corpora=[{corpus}]").task)
        assert problems == [f"task.valid_corpora names {corpus}; it can name T_val, S_val_MT"]
