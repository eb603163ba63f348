"""Mistakes in recipes and on the command line: what Hydra and fairseq refuse is said, what they take is left alone."""

import functools
import importlib.util
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.tasks import FairseqTask, register_task
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import get_args
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import II, MISSING, OmegaConf

import fairseq_musc.registration  # noqa: F401
from fairseq_musc.errors import InputError
from fairseq_musc.recipes import check_command, expected

BIN = Path(sys.executable).parent
CONFIGS = Path(importlib.util.find_spec("fairseq_musc.configs").submodule_search_locations[0])


@dataclass
class ToyTaskConfig(FairseqDataclass):
    data: str = MISSING
    target_langs: list[str] = field(default_factory=list)
    max_positions: int = 128
    seed: int = II("common.seed")


@register_task("musc_test_toy", dataclass=ToyTaskConfig)
class ToyTask(FairseqTask):
    pass


@dataclass
class ToyCriterionConfig(FairseqDataclass):
    tau: float = 0.3
    lambda_: float = 0.9
    base_temperature: float | None = None

    @staticmethod
    def problems(cfg):
        if OmegaConf.is_missing(cfg, "tau"):
            return []
        return [] if cfg.tau > 0 else [f"criterion.tau must be positive, got {cfg.tau}"]


@register_criterion("musc_test_toy", dataclass=ToyCriterionConfig)
class ToyCriterion(FairseqCriterion):
    pass


RECIPE = """
hydra: {run: {dir: .}}
common: {user_dir: "${fairseq_musc_dir:}", seed: 1}
task: {_name: musc_test_toy, data: ???, target_langs: [de, ja]}
criterion: {_name: musc_test_toy, tau: 0.3, lambda_: 0.9}
model: {_name: transformer, dropout: 0.1}
optimizer: {_name: adam, adam_betas: "(0.9,0.999)", lr: "${optimization.lr}"}
lr_scheduler: {_name: fixed}
optimization: {max_epoch: 4, lr: [1e-5]}
checkpoint: {save_dir: checkpoints}
""".replace("???", '"???"')


@pytest.fixture(autouse=True, scope="module")
def hydra_plugins():
    Plugins.instance()  # Hydra's own readers of file:// and pkg:// are plugins too


#: fairseq's schema under the name of a recipe, stored once: it stays in Hydra's store, and takes a fifth of a second.
store_schema = functools.cache(hydra_init)


@pytest.fixture
def check(tmp_path):
    """Writes a recipe into the folder of the installed ones and checks a command line; returns the problems."""
    installed, own = tmp_path / "installed", tmp_path / "own"
    installed.mkdir()
    own.mkdir()

    def check(*arguments, recipe=RECIPE, name="musc_toy", folder=installed):
        (folder / "musc_toy.yaml").write_text(recipe)
        path = ConfigSearchPathImpl()
        path.append("hydra", "pkg://hydra.conf")
        path.append("main", "pkg://fairseq.config")
        path.append("fairseq-musc", f"file://{installed}")
        store_schema(name)
        try:
            check_command(path, get_args(["--config-name", name, *arguments]))
        except InputError as error:
            return str(error).split("\n  - ")[1:] or [str(error)]
        return []

    check.own = own
    return check


def hydra_and_fairseq_take(tmp_path, *overrides):
    """Whether the configuration passes Hydra's composition and fairseq's merging with the registered dataclasses."""
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    path.append("fairseq-musc", f"file://{tmp_path / 'installed'}")
    path.append("schema", "structured://")
    try:
        add_defaults(ConfigLoaderImpl(path).load_configuration("musc_toy", list(overrides), RunMode.RUN))
    except Exception as error:
        print(error)
        return False
    return True


@pytest.mark.parametrize(
    "override",
    [
        "criterion.tau=0.5",
        "criterion.tau=1",
        "+criterion.base_temperature=1",
        "+criterion.base_temperature=null",
        "++criterion.tau=2",
        "~criterion.tau",
        "criterion={tau: 2, lambda_: 0}",
        "task.target_langs=[de,fr]",
        "+task.max_positions=64",
        "common.seed=2",
        "common.user_dir=/some/where",
        "common.fp16=true",
        "checkpoint.patience=3",
        "checkpoint.save_dir=${task.data}/here",
        "optimization.lr=[0.1,0.01]",
        "distributed_training.ddp_backend=legacy_ddp",
        "hydra.run.dir=elsewhere",
        "hydra.job.chdir=false",
        "hydra/job_logging=disabled",
        "+bpe._name=bytes",
        "model.activation_dropout_of_a_model_whose_keys_fairseq_does_not_know=1",
        "criterion.lamda=0.1",
        "+criterion.lamda=0.1",
        "criterion.tau=abc",
        "criterion.tau=null",
        "criterion.tau=[1]",
        "criterion.tau.x=1",
        "task.target_langs=de",
        "+task.max_positions=1.5",
        "checkpoint.bogus=1",
        "checkpoint.save_dir.x=1",
        "checkpoint=5",
        "common.seed=one",
        "optimiser.lr=1",
        "optimization.lr=0.1",
        "distributed_training.ddp_backend=gloo",
        "lamda=1",
        "criterion._name=cross_entropy",
    ],
)
def test_agrees_with_hydra_and_fairseq(check, tmp_path, override):
    problems = check("--cfg", "job", override)
    if "model." in override:
        override = f"+{override}"
    assert (problems == []) == hydra_and_fairseq_take(tmp_path, override), problems


def test_every_mistake_is_said_at_once_with_its_path_and_the_nearest_key(check):
    problems = check(
        "task.data=x",
        "criterion.lamda=0.1",
        "+criterion.lamda2=0.1",
        "checkpoint.save_dri=x",
        "+optimiser.lr=1",
        "dataset.max_epoch=1",
        "lr=2",
        "criterion.tau=abc",
        "+bpe._name=gpt3",
    )
    assert len(problems) == 8
    text = "\n".join(problems)
    assert "criterion.lamda (command line): there is no such key; did you mean criterion.lambda_?" in text
    assert "criterion 'musc_test_toy' has: base_temperature, lambda_, tau" in text
    assert "checkpoint.save_dri (command line): there is no such key; did you mean checkpoint.save_dir?" in text
    assert "there is no section 'optimiser'; did you mean optimizer.lr? there are: bmuf, bpe, checkpoint," in text
    assert "dataset.max_epoch (command line): there is no such key; did you mean optimization.max_epoch?" in text
    assert "did you mean optimization.lr?" in text
    assert "criterion.tau (command line): a number is needed, got 'abc'" in text
    assert "bpe._name (command line): there is no bpe 'gpt3'; did you mean gpt2?" in text


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimization.lr=[]"], "optimization.lr is []; it is a list of numbers of at least 0"),
        (["optimization.lr=[-1]"], "optimization.lr is [-1.0]"),
        (["optimization.lr=[nan]"], "optimization.lr is [nan]"),
        (["+optimization.update_freq=[]"], "optimization.update_freq is []; it is a list of numbers of at least 1"),
        (["+optimization.update_freq=[0]"], "optimization.update_freq is [0]"),
        (["++dataset.batch_size=0"], "dataset.batch_size is 0; it is at least 1, or null"),
        (["optimization.max_epoch=-1"], "optimization.max_epoch is -1 and max_update 0; each is at least 1, or 0 for"),
    ],
)
def test_what_fairseq_would_fail_on_behind_the_loading_is_said_before(check, overrides, said):
    assert check("task.data=x") == []
    [problem] = check("task.data=x", *overrides)
    assert said in problem


def test_a_copied_recipe_with_mistakes(check):
    copy = RECIPE.replace("lambda_:", "lamda:").replace("max_epoch: 4", "max_epoch: four").replace("common:", "comon:")
    problems = check("task.data=x", "--config-dir", str(check.own), recipe=copy, folder=check.own)
    assert [problem.partition(":")[0] for problem in problems] == [
        "comon.user_dir, comon.seed (musc_toy.yaml)",
        "optimization.max_epoch (musc_toy.yaml)",
        "criterion.lamda (musc_toy.yaml)",
    ]


def test_a_recipe_that_takes_in_another_would_lose_its_values(check, tmp_path):
    check()
    (check.own / "mine.yaml").write_text("defaults: [musc_toy, _self_]\ncriterion: {tau: 0.5}\n")
    problems = check("--config-dir", str(check.own), name="mine")
    assert "mine.yaml takes in musc_toy.yaml" in problems[0]


def test_a_file_that_is_not_yaml_is_named_with_its_line(check):
    problems = check(recipe="common: {seed: 1}\ntask: {data: ???}\n")
    assert "installed/musc_toy.yaml" in problems[0]
    assert "line 2" in problems[0]


def test_a_section_that_holds_no_keys_is_named(check):
    problems = check(recipe="common: [null]\ncriterion: {_name: musc}\ntask:\nmodel:\n")
    assert [problem for problem in problems if "common" in problem and "keys with values are needed" in problem]


def test_a_component_that_was_changed_says_which_keys_to_take_away(check):
    problems = check("criterion._name=cross_entropy", "--cfg", "job")
    assert "criterion.tau (musc_toy.yaml): there is no such key; take it away with ~criterion.tau" in problems[0]
    assert check("criterion._name=cross_entropy", "~criterion.tau", "~criterion.lambda_", "--cfg", "job") == []


def test_an_unknown_component_is_named_unless_a_user_dir_may_bring_it(check):
    problems = check("criterion._name=cross_entropi", "--cfg", "job")
    assert "there is no criterion 'cross_entropi'; did you mean cross_entropy? there are: adaptive_loss," in problems[0]
    assert check("criterion._name=mine", "common.user_dir=/my/own", "--cfg", "job") == []


def test_values_that_must_be_given_are_needed_for_training_only(check):
    assert check() == ["task.data must be given: task.data=..."]
    assert check("--cfg", "job") == check("--info", "searchpath") == check("task.data=x") == []


def test_a_component_checks_its_own_values_in_the_same_list(check):
    problems = check("task.data=x", "criterion.tau=-1", "criterion.lamda=1")
    assert problems[1:] == ["criterion.tau must be positive, got -1.0"]
    assert check("task.data=x", "criterion.tau=${common.seed}") == []
    assert check("task.data=x", "criterion.tau=${nothing.here}") == []  # fairseq's to say


def test_every_value_of_a_sweep_is_seen(check):
    problems = check(
        "--multirun", "task.data=x", "criterion.tau=1,-2,abc", "common.seed=1,2", "+criterion.lamda=range(1,9)"
    )
    assert problems == [
        "criterion.lamda (command line): there is no such key; did you mean criterion.lambda_? "
        "criterion 'musc_test_toy' has: base_temperature, lambda_, tau",
        "criterion.tau must be positive, got -2.0",
        "criterion.tau (command line): a number is needed, got 'abc'",
    ]
    assert check("--multirun", "task.data=x", "criterion.tau=1,2", "common.seed=choice(1,2)") == []


def test_the_runs_of_a_sweep_may_not_save_in_one_folder(check):
    sweep = ("--multirun", "task.data=x", "criterion.tau=1,2")
    [problem] = check(*sweep, "checkpoint.save_dir=/results")
    assert "checkpoint.save_dir is /results for all runs of the sweep" in problem
    assert "${hydra:job.num}" in problem
    for folder in ("results", "'/results/${hydra:job.num}'", "/one,/other"):
        assert check(*sweep, f"checkpoint.save_dir={folder}") == []
    assert check("task.data=x", "checkpoint.save_dir=/results") == []
    assert check("--multirun", "task.data=x", "checkpoint.save_dir=/results") == []


def test_a_sweep_over_names_of_groups_is_left_to_hydra(check):
    assert check("--multirun", "task.data=x", "criterion.tau=glob(*)") == []


def test_names_in_every_place_are_listed(check):
    check()
    (check.own / "mine.yaml").write_text("{}")
    (message,) = check("--config-dir", str(check.own), name="musc_tpy")
    assert message == (
        "there is no config 'musc_tpy'; did you mean musc_toy? there are: config (fairseq's own), "
        f"musc_toy (installed), mine (in --config-dir {check.own})"
    )
    (message,) = check(f"hydra.searchpath=[file://{check.own}]", name="musc_tpy")
    assert "mine (hydra.searchpath in command-line)" in message


def test_a_name_in_two_places_is_not_guessed(check):
    check()
    (message,) = check("--config-dir", str(check.own), folder=check.own)
    assert "there are two configs 'musc_toy'" in message


def test_other_recipes_and_what_only_hydra_knows_are_left_alone(check, tmp_path):
    other = RECIPE.replace("musc_test_toy", "masked_lm")
    assert check("criterion.lamda=0.1", recipe=other) == []
    assert check("criterion.lamda=0.1", name="config") == []
    assert check("criterion.tau=,") == []
    assert check("--config-dir", str(tmp_path / "nowhere"), name="nothing") == []
    assert check("--hydra-help", name="nothing") == []
    assert check("--help", "criterion.lamda=0.1") == []


@pytest.mark.parametrize(
    "hydra",
    [
        "callbacks: {x: {_target_: os.mkdir, path: TRAP}}",
        "launcher: {_target_: os.mkdir, path: TRAP}",
        "job_logging: {version: 1, handlers: {x: {(): os.mkdir, path: TRAP}}, root: {handlers: [x]}}",
        "job: {name: ../elsewhere}",
        "searchpath: ['file://elsewhere']",
    ],
)
def test_a_recipe_may_not_name_code_for_hydra(check, hydra, promise):
    problems = check(recipe=RECIPE.replace("{run: {dir: .}}", f"{{run: {{dir: .}}, {hydra}}}"))
    assert problems, hydra
    assert all("hydra." in problem and "(musc_toy.yaml)" in problem for problem in problems)
    assert check("--cfg", "job", "hydra.job.name=mine", "task.data=x") == []
    promise("hostile recipes", "code that Hydra would run", 1)


def test_nor_in_a_file_of_hydras_own_groups(check, tmp_path):
    own = tmp_path / "own"
    (own / "hydra" / "job_logging").mkdir(parents=True)
    (own / "hydra" / "job_logging" / "evil.yaml").write_text("handlers: {x: {(): os.mkdir}}\n")
    recipe = f"defaults:\n- override hydra/job_logging: evil\n- _self_\n{RECIPE}"
    problems = check("--config-dir", str(own), "task.data=x", "--config-name", "musc_toy", recipe=recipe, folder=own)
    assert any("hydra.job_logging.handlers.x.()" in problem for problem in problems)


def test_a_recipe_may_not_name_a_folder_of_code(check):
    recipe = RECIPE.replace("${fairseq_musc_dir:}", "elsewhere")
    assert "common.user_dir (musc_toy.yaml): it is 'elsewhere'" in check("task.data=x", recipe=recipe)[0]
    assert check("task.data=x", "common.user_dir=elsewhere", recipe=recipe) == []
    recipe = RECIPE.replace("tau: 0.3", "tau: {_target_: os.mkdir}")
    assert "criterion.tau._target_ (musc_toy.yaml): it names code" in check("task.data=x", recipe=recipe)[0]


def test_a_recipe_that_would_run_code_does_not(tmp_path):
    """By the real command: what Hydra would build, and what fairseq's Adam would evaluate."""
    trap = tmp_path / "the code ran"
    text = (CONFIGS / "musc_pawsx.yaml").read_text().replace("data: ???", "data: nowhere")
    (tmp_path / "one.yaml").write_text(
        text.replace("hydra:\n", f"hydra:\n  callbacks: {{x: {{_target_: os.mkdir, path: {trap}}}}}\n")
    )
    ended = subprocess.run(
        [BIN / "fairseq-hydra-train", "--config-dir", str(tmp_path), "--config-name", "one"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, trap.exists()) == (2, False), ended.stderr
    assert "hydra.callbacks.x._target_ (one.yaml)" in ended.stderr


def test_types_are_said_in_words():
    from fairseq.dataclass.configs import CommonConfig, DistributedTrainingConfig, OptimizationConfig

    assert expected(CommonConfig, "seed") == "a whole number"
    assert expected(CommonConfig, "user_dir") == "a text or null"
    assert expected(OptimizationConfig, "lr") == "a list [...], each item a number,"
    assert expected(DistributedTrainingConfig, "ddp_comm_hook") == "one of none, fp16"
    assert expected(ToyCriterionConfig, "base_temperature") == "a number or null"


@pytest.mark.parametrize("recipe", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_the_installed_recipes_are_without_mistakes(recipe):
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    path.append("fairseq-musc", f"file://{CONFIGS}")
    hydra_init(recipe)
    check_command(path, get_args(["--config-name", recipe, "--cfg", "job"]))


# --- the real command ------------------------------------------------------------------------------------------------


def fairseq_hydra_train(folder, *arguments):
    command = [BIN / "fairseq-hydra-train", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_command_stops_at_a_mistyped_name(tmp_path):
    done = fairseq_hydra_train(tmp_path, "--config-name", "musc_pawx")
    assert done.returncode == 2
    assert "fairseq-hydra-train: error: there is no config 'musc_pawx'; " in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_stops_at_unknown_keys(tmp_path):
    (tmp_path / "mine.yaml").write_text("criterion: {_name: musc_unknown}\ntask: {_name: masked_lm, dta: x}\n")
    done = fairseq_hydra_train(
        tmp_path, "--config-dir", ".", "--config-name", "mine", "checkpoint.bogus=1", "+optimiser.lr=1"
    )
    assert done.returncode == 2
    problems = done.stderr.split("  - ")[1:]
    paths = ["optimiser.lr (command line)", "checkpoint.bogus (command line)", "task.dta (mine.yaml)"]
    assert [problem.partition(":")[0] for problem in problems] == [*paths, "criterion._name (mine.yaml)"]
    assert "Traceback" not in done.stderr


def test_the_command_finds_the_installed_recipe_from_any_folder(tmp_path):
    done = fairseq_hydra_train(tmp_path, "--config-name", "musc_pawsx", "--cfg", "job", "common.fp16_init_scale=4")
    assert done.returncode == 0, done.stderr
    shown = OmegaConf.create(done.stdout)
    assert shown.task._name == "musc"
    assert shown.common.fp16_init_scale == 4
    assert list(tmp_path.iterdir()) == []


def test_an_unrelated_hydra_application_is_untouched(tmp_path):
    (tmp_path / "app.py").write_text(
        "import sys, hydra\n"
        "@hydra.main(config_path=None, version_base='1.2')\n"
        "def main(cfg):\n"
        "    from hydra.core.plugins import Plugins\n"
        "    print(sorted({'fairseq', 'torch', 'fairseq_musc'} & set(sys.modules)))\n"
        "    print([plugin.__name__ for plugin in Plugins.instance().discover() if 'Musc' in plugin.__name__])\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "app.py", "+lamda=1"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == ["[]", "['FairseqMuscRecipes']"]
