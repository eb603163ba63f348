"""The registered task: aligned corpora of a data-bin in, batches of pairs for every language out."""

# No postponed annotations here: fairseq reads the types of a dataclass's fields as they stand.
import contextlib
import functools
import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from hydra.errors import CompactHydraException
from omegaconf import II, MISSING

from fairseq_musc.data.corpus import CORPORA, are_views, languages_of, made_by
from fairseq_musc.data.databin import DataBinInfo, check_views_aligned, open_corpus, read_about
from fairseq_musc.data.pairs import AlignedPairs, LanguageGroup
from fairseq_musc.data.tokenizer import fingerprint, load_tokenizer
from fairseq_musc.data.translators import mismatch, translator_of
from fairseq_musc.errors import InputError
from fairseq_musc.exchange import make_unwaited
from fairseq_musc.finite import LossWatch, NotFiniteError, TrainingError, remedy
from fairseq_musc.forks import Loaders, end_at_once, spare_the_parent
from fairseq_musc.late import Late
from fairseq_musc.locks import held_alone
from fairseq_musc.models.checkpoint import saved_config
from fairseq_musc.models.checkpoint_files import LAST, check_whole, mend_last
from fairseq_musc.models.classifier import MuscClassifier, encoder_config_of
from fairseq_musc.optim import MuscAdam
from fairseq_musc.ranks import own_rank, wait_for_all_ranks
from fairseq_musc.resuming import TrainingBatches, forget_the_run_before, is_over, resume, state_of_run
from fairseq_musc.safe_loading import check_pickled_classes, keep_loading_safe
from fairseq_musc.stopping import ASKED, Stop, make_stoppable

logger = logging.getLogger(__name__)

#: Seconds that a training waits for another one in its folder: one that was told to end saves its state first, and a
#: server of NFSv4 gives the lock of a machine that is gone back after 90.
PATIENCE = 120

#: What of a model's configuration decides the result of a training and is not found by its weights' shapes.
OF_MODEL = ("pretrained", "mix_at", "classifier_dropout", "trained_on")


class MuscInputError(InputError, CompactHydraException):
    """An :class:`InputError` that Hydra prints as it stands, without the stack that led to it."""


def said_plainly(method: Any) -> Any:
    """Lets the input errors of a method end ``fairseq-hydra-train`` with their message alone."""

    @functools.wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except InputError as error:
            raise MuscInputError(str(error)) from error

    return wrapped


@dataclass
class MuscTaskConfig(FairseqDataclass):
    """Which corpora of which data-bin."""

    data: str = field(default=MISSING, metadata={"help": "the data-bin, as `fairseq-musc binarize` makes it"})
    source_lang: str = field(default="en", metadata={"help": "the language of S_trn"})
    target_langs: Optional[list[str]] = field(
        default=None,
        metadata={
            "help": "the target languages; null takes all in which the data-bin holds the last training corpus, or the "
            "first validation corpus if training is on the source language alone"
        },
    )
    train_corpora: list[str] = field(
        default_factory=lambda: ["S_trn", "T_trn_MT"],
        metadata={
            "help": "what to train on, by the names of Table 1: [S_trn, T_trn_MT] are the two aligned views of "
            "translate-train and translate-all, [S_trn] is zsxl and translate-test, [S_trn, T_trn] and [S_trn, "
            "T_trn_BT] are the lines of Table 4"
        },
    )
    paired: Optional[bool] = field(
        default=None,
        metadata={
            "help": "whether the training corpora are two aligned views, source first; null: they are if they are "
            "two with the same rows. false trains on each by itself, a language at a time, with the released code's "
            "losses for data without partners"
        },
    )
    valid_corpora: list[str] = field(
        default_factory=lambda: ["T_val", "S_val_MT"],
        metadata={
            "help": "what validation predicts and ensembles: [T_val] for zsxl and translate-train, [S_val_MT] for "
            "translate-test"
        },
    )
    shared_source: bool = field(
        default=False,
        metadata={
            "help": "whether all target languages of a step take the same source rows, which are then encoded once: "
            "2 T + 2 views in place of 4 T. false: each language draws its own, as the released code"
        },
    )
    languages_at_once: Optional[int] = field(
        default=None,
        metadata={
            "help": "how many languages of a step go through the encoder at once; null: all. Fewer take less memory "
            "and give the same gradients"
        },
    )
    seed: int = II("common.seed")
    save_dir: str = II("checkpoint.save_dir")
    no_save: bool = II("checkpoint.no_save")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    patience: int = II("checkpoint.patience")
    max_update: int = II("optimization.max_update")
    lr: list[float] = II("optimization.lr")  # noqa: RUF009

    @staticmethod
    def problems(cfg: Any) -> list[str]:
        """Values that cannot be, each with what is allowed."""
        found = []
        for key, split in (("train_corpora", "train"), ("valid_corpora", "valid")):
            allowed = [name for name, kind in CORPORA.items() if kind.split == split]
            wrong = [name for name in getattr(cfg, key) if name not in allowed]
            if wrong:
                found.append(f"task.{key} names {', '.join(wrong)}; it can name {', '.join(allowed)}")
            if len(set(getattr(cfg, key))) != len(getattr(cfg, key)):
                found.append(f"task.{key} is {list(getattr(cfg, key))}; each corpus can stand there once")
        if not cfg.train_corpora:
            found.append("task.train_corpora is empty; training takes one corpus or more, e.g. [S_trn, T_trn_MT]")
        if cfg.paired and not found and not are_views(cfg.train_corpora):
            found.append(
                f"task.paired is true, but task.train_corpora={list(cfg.train_corpora)} are not two views of the same "
                "rows, such as [S_trn, T_trn_MT] or [T_trn, T_trn_BT]; leave task.paired null or name two that are"
            )
        if cfg.shared_source and not found and not shares_source(cfg):
            found.append(
                f"task.shared_source is true, but task.train_corpora={list(cfg.train_corpora)} with "
                f"task.paired={cfg.paired} are no pairs with one source for all languages, such as [S_trn, T_trn_MT]"
            )
        if cfg.languages_at_once is not None and cfg.languages_at_once < 1:
            found.append(f"task.languages_at_once is {cfg.languages_at_once}; it is at least 1, or null")
        if not 1 <= len(cfg.valid_corpora) <= 2:
            found.append(f"task.valid_corpora has {len(cfg.valid_corpora)} corpora; one or two can be validated on")
        if cfg.target_langs is not None and (not cfg.target_langs or cfg.source_lang in cfg.target_langs):
            found.append(
                f"task.target_langs is {list(cfg.target_langs)}; it names one language or more, and not the source "
                f"language {cfg.source_lang}"
            )
        elif cfg.target_langs is not None and len(set(cfg.target_langs)) != len(cfg.target_langs):
            found.append(f"task.target_langs is {list(cfg.target_langs)}; each language can stand there once")
        return found


def is_source_original(name: str) -> bool:
    """Whether a corpus is in the source language alone: S_trn."""
    return CORPORA[name].side == "S" and CORPORA[name].made_from is None


def is_paired(cfg: Any) -> bool:
    """Whether a training row has two aligned views."""
    return bool(are_views(cfg.train_corpora) if cfg.paired is None else cfg.paired)


def shares_source(cfg: Any) -> bool:
    """Whether the training rows are pairs whose source view is one corpus for all languages."""
    return is_paired(cfg) and is_source_original(cfg.train_corpora[0])


@register_task("musc", dataclass=MuscTaskConfig)
class MuscTask(FairseqTask):
    """Sentence classification on originals and translations, aligned as views of the same rows or each by itself."""

    cfg: MuscTaskConfig

    def __init__(self, cfg: MuscTaskConfig, from_checkpoint: bool):
        super().__init__(cfg)
        self.from_checkpoint = from_checkpoint
        self.late = Late()
        self.norms = Late()  # of the gradients of all processes
        self.asked = Late()  # whether one of them was asked to stop
        self.stop = Stop()
        self.saving = contextlib.ExitStack()  # what a training holds until it ends: the folder of its checkpoints
        self.packed = False  # until a model is built that takes rows end to end
        self.updates = 0
        self.training_batches: Optional[TrainingBatches] = None
        self.training_loaders = Loaders()
        self.validation_loaders = Loaders()
        self.watch = LossWatch(lambda row: self.datasets["train"].row_name(row))
        self.leaves_out = False
        self.model_settings: dict[str, Any] = {}
        self.resumed: dict[str, Any] = {}  # with what the checkpoint was trained that a run goes on from

    @classmethod
    @said_plainly
    def setup_task(cls, cfg: MuscTaskConfig, from_checkpoint: bool = False, **kwargs: Any) -> "MuscTask":
        """Sets up training, or the loading of a checkpoint, for which its training data need not be there."""
        problems = MuscTaskConfig.problems(cfg)
        if problems:
            raise InputError.all_at_once("the task cannot be set up:", problems)
        keep_loading_safe()
        task = cls(cfg, from_checkpoint)
        if not from_checkpoint:
            _ = task.info  # a data-bin that is not there ends the run here
            forget_the_run_before()
            make_stoppable()
            make_unwaited()
        return task

    @functools.cached_property
    def info(self) -> DataBinInfo:
        """What the data-bin is for."""
        return DataBinInfo.load(self.cfg.data)

    @property
    def source_dictionary(self) -> None:
        """None: token ids are the Hugging Face tokenizer's own."""
        return None

    target_dictionary = source_dictionary

    @functools.cached_property
    def target_langs(self) -> list[str]:
        """The target languages, asked for or found."""
        if self.cfg.target_langs is not None:
            return list(self.cfg.target_langs)
        target_side = [name for name in self.cfg.train_corpora if not is_source_original(name)]
        name = target_side[-1] if target_side else self.cfg.valid_corpora[0]
        found = [language for language in languages_of(self.cfg.data, name) if language != self.cfg.source_lang]
        if not found:
            raise InputError(
                f"{self.cfg.data} holds {name} in no language but {self.cfg.source_lang}; make it with `fairseq-musc "
                f"{made_by(name)}`, then binarize it"
            )
        return found

    @property
    def paired(self) -> bool:
        """Whether a training row has two aligned views."""
        return is_paired(self.cfg)

    @functools.cached_property
    def training_groups(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """The groups of a training batch: a language, and the corpora (name and language) that are its views.

        Pairs: one group a target language, with two views. Otherwise: one group for each corpus and language that it
        is there in, with one view; S_trn is a group like the others, as in the released code.
        """
        names = list(self.cfg.train_corpora)
        if self.paired:
            return [(xx, [(name, self.language_of(name, xx)) for name in names]) for xx in self.target_langs]
        return [
            (xx, [(name, xx)])
            for name in names
            for xx in ([self.cfg.source_lang] if is_source_original(name) else self.target_langs)
        ]

    def language_of(self, name: str, target: str) -> str:
        """The language under which a corpus lies in the data-bin when it is a view of a target language."""
        return self.cfg.source_lang if is_source_original(name) else target

    @said_plainly
    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        """Opens ``train`` or ``valid``, and counts every corpus against its manifest.

        Validation covers the source language too.

        Raises:
            InputError: a corpus is missing or not aligned with its partner.
        """
        if split not in ("train", "valid"):
            raise InputError(f"there is no subset {split!r}; the subsets are train and valid (see task.*_corpora)")
        train = split == "train"
        opened = functools.cache(functools.partial(open_corpus, self.cfg.data))  # S_trn is a view of every language
        groups = []
        for language, corpora in self.training_groups if train else self.validation_groups:
            views = [opened(name, view_language) for name, view_language in corpora]
            check_views_aligned(views)
            groups.append(LanguageGroup(language, views))
        names = self.cfg.train_corpora if train else self.cfg.valid_corpora
        dataset = AlignedPairs(
            groups,
            self.info.pad,
            self.info.token_types,
            shuffle=train,
            seed=self.cfg.seed,
            packed=self.packed,
            shared_source=train and self.cfg.shared_source,
            groups_at_once=self.cfg.languages_at_once if train else None,
        )
        counted = ", ".join(f"{group.language} {len(group)}" for group in groups)
        logger.info("%s: %s, %d rows (%s)", split, " + ".join(names), len(dataset), counted)
        if not len(dataset):
            raise InputError(f"the subset {split} of {self.cfg.data} has no rows")
        self.datasets[split] = dataset

    @property
    def validation_groups(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """The groups of a validation batch, as :attr:`training_groups`; in the source language all views are T_val."""
        names = self.cfg.valid_corpora
        source = self.cfg.source_lang
        return [
            (source, [("T_val", source)] * len(names)),
            *((xx, [(name, xx) for name in names]) for xx in self.target_langs),
        ]

    def trained_on(self) -> dict[str, Any]:
        """What the training corpora are, for the signature of results."""
        files = {}
        for name, language in dict.fromkeys(corpus for _, corpora in self.training_groups for corpus in corpora):
            about = read_about(self.cfg.data, name, language)
            files[f"{name}.{language}"] = {
                "rows": about["rows"],
                "sha256": about["source_sha256"],
                "translator": translator_of(about["provenance"]),
            }
        return {"corpora": list(self.cfg.train_corpora), "paired": self.paired, "files": files}

    def warn_of_translators(self) -> None:
        """Logs a warning if validation is on translations by another translator than training."""

        def translators(groups: list[tuple[str, list[tuple[str, str]]]]) -> list[str]:
            corpora = {corpus for _, corpora in groups for corpus in corpora}
            return [
                name
                for corpus in sorted(corpora)
                if (name := translator_of(read_about(self.cfg.data, *corpus)["provenance"]))
            ]

        warning = mismatch(translators(self.training_groups), translators(self.validation_groups), "validated on")
        if warning:
            logger.warning(warning)

    @said_plainly
    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> MuscClassifier:
        """Builds the model, after noting in its config all that rebuilding it needs.

        ``cfg`` is the node of the run's own configuration, so that what is written here is saved with every checkpoint.

        Raises:
            InputError: encoder and data-bin do not go together.
        """
        if not self.from_checkpoint:
            encoder_config = encoder_config_of(cfg.pretrained)
            self.check_encoder(cfg.pretrained, encoder_config)
            self.hold_folder()
            self.check_resumed()
            cfg.encoder_config = json.dumps(encoder_config, sort_keys=True)
            cfg.labels = list(self.info.labels)
            cfg.tokenizer_fingerprint = self.info.fingerprint
            cfg.trained_on = json.dumps(self.trained_on(), sort_keys=True)
            self.model_settings = {key: cfg[key] for key in OF_MODEL}
            self.warn_of_translators()
        model = super().build_model(cfg, from_checkpoint)
        assert isinstance(model, MuscClassifier)
        self.packed = model.packed
        return model

    def check_encoder(self, pretrained: str, encoder_config: dict[str, Any]) -> None:
        """Raises :class:`InputError` unless an encoder can read this data-bin: ids, length and tokenizer."""
        problems = []
        if encoder_config["vocab_size"] < self.info.vocab_size:
            problems.append(
                f"the encoder knows {encoder_config['vocab_size']} token ids, the data-bin uses {self.info.vocab_size}"
            )
        longest = encoder_config.get("max_position_embeddings")
        if longest is not None and longest < self.info.max_length:
            problems.append(f"the encoder takes {longest} tokens, rows were cut to {self.info.max_length}")
        if fingerprint(load_tokenizer(pretrained)) != self.info.fingerprint:
            problems.append(
                f"the data-bin was made with another tokenizer ({self.info.tokenizer}, {self.info.vocab_size} ids)"
            )
        if problems:
            raise InputError.all_at_once(
                f"{pretrained} cannot be trained on {self.cfg.data} (binarize again with --tokenizer {pretrained}):",
                problems,
            )

    def hold_folder(self) -> None:
        """Keeps other trainings out of the folder that this one saves in, from before it looks there until it ends.

        Before a training fairseq has made that folder; a model that is built for something else needs none.

        Raises:
            InputError: another one is at work there, and does not end.
        """
        folder = Path(self.cfg.save_dir)
        if own_rank() == 0 and not self.cfg.no_save and folder.is_dir():
            self.saving.enter_context(held_alone(folder, "name another checkpoint.save_dir", PATIENCE))

    def check_resumed(self) -> None:
        """Raises :class:`InputError` if the checkpoint that this run would go on from was trained for other data, or it
        or the one to fine-tune would run code when it is loaded.

        fairseq itself only finds that some weights have another shape. One that is damaged is mended before, see
        :func:`fairseq_musc.models.checkpoint_files.mend_last`.
        """
        path = Path(self.cfg.restore_file)
        first_rank = own_rank() == 0
        if self.cfg.restore_file == LAST:  # fairseq's default, which alone lies in save_dir
            path = Path(self.cfg.save_dir) / path
            if first_rank:
                mend_last(path.parent)
            wait_for_all_ranks()
        elif first_rank and path.is_file():
            check_whole(path)
        for loaded in (path, Path(self.cfg.finetune_from_model or "")):
            if first_rank and loaded.is_file():
                check_pickled_classes(loaded)
        config = saved_config(path) if path.is_file() else {}
        if self.cfg.restore_file == LAST:  # another file is named by who wants to go on otherwise
            self.resumed = config
        saved = config.get("model", {})
        problems = []
        labels = tuple(saved.get("labels") or self.info.labels)
        if labels != self.info.labels:
            problems.append(
                f"it has {len(labels)} classes ({', '.join(labels)}), the data-bin {len(self.info.labels)} "
                f"({', '.join(self.info.labels)})"
            )
        if saved.get("tokenizer_fingerprint", self.info.fingerprint) != self.info.fingerprint:
            problems.append(f"its data was made with another tokenizer than the data-bin ({self.info.tokenizer})")
        if problems:
            raise InputError.all_at_once(
                f"training on {self.cfg.data} cannot go on from {path} (name another checkpoint.save_dir):", problems
            )

    @said_plainly
    def build_criterion(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """fairseq's own, behind which all is known that a run may differ in from the one that it goes on with."""
        criterion = super().build_criterion(cfg, from_checkpoint)
        if self.resumed and own_rank() == 0 and (changed := self.settings_changed(cfg)):
            logger.warning(
                f"{Path(self.cfg.save_dir) / LAST} was trained with other settings, and this run goes on from it, if "
                f"it is not done: {'; '.join(changed)}. For a training of its own name another checkpoint.save_dir"
            )
        return criterion

    def settings_changed(self, criterion: Any) -> list[str]:
        """What decides the result of a training and differs from what the checkpoint to go on from was trained with."""
        of_task = ("train_corpora", "paired", "target_langs", "shared_source")
        now = {
            **{f"task.{key}": getattr(self.cfg, key) for key in of_task},
            **{"common.seed": self.cfg.seed, "optimization.lr": self.cfg.lr},
            **{f"model.{key}": value for key, value in self.model_settings.items() if key != "trained_on"},
            **{f"criterion.{key}": criterion[key] for key in criterion if key not in ("_name", "not_finite")},
        }
        changed = []
        for setting, value in now.items():
            section, key = setting.split(".")
            saved = self.resumed.get(section) or {}
            value = value if value is None or isinstance(value, (str, int, float)) else [*value]
            if key in saved and saved[key] != value:
                changed.append(f"{setting} was {saved[key]}, is {value}")
        files = [
            json.loads(model.get("trained_on") or "{}").get("files", {})
            for model in (self.resumed.get("model") or {}, self.model_settings)
        ]
        was, now_in = ({name: about["sha256"] for name, about in each.items()} for each in files)
        if was and (others := [name for name in {**was, **now_in} if was.get(name) != now_in.get(name)]):
            changed.append(f"it saw other rows of {', '.join(others)}")
        return changed

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> tuple[Any, int, dict[str, Any]]:
        """fairseq's own, for one encoder pass after the other if the languages of a step are not taken at once."""
        self.prepare(optimizer, criterion.skips_not_finite)
        # fairseq's scaler of fp16 and amp leaves updates out by itself.
        self.leaves_out = criterion.skips_not_finite or getattr(optimizer, "scaler", None) is not None
        pieces = criterion.split({**sample, "stands_in": ignore_grad})
        results = []
        for place, piece in enumerate(pieces):
            last = place + 1 == len(pieces)
            # Processes exchange gradients behind the last pass alone.
            apart = contextlib.nullcontext() if last or not hasattr(model, "no_sync") else model.no_sync()
            with apart:
                results.append(super().train_step(piece, model, criterion, optimizer, update_num, ignore_grad))
        loss, _, logged = results[0]
        if len(results) > 1:
            logs = [logged for _, _, logged in results]
            loss = sum(loss.detach() for loss, _, _ in results)
            logged = {**{key: sum(log[key] for log in logs) for key in logs[0]}, "sample_size": 1}
        if not ignore_grad:
            self.look_at_losses(sample, logged, update_num + 1)
        return loss, 1, self.stop.told(logged)

    def prepare(self, optimizer: Any, skips: bool) -> None:
        """Lets the optimizer know what it does with a gradient that is not finite, and whose it is.

        Raises:
            TrainingError: it cannot leave out an update.
        """
        if isinstance(optimizer, MuscAdam):
            optimizer.watch, optimizer.skips = self.watch, skips
        elif skips:
            raise TrainingError(
                "criterion.not_finite=skip needs optimizer._name=musc_adam without common.fp16, bf16 or amp (fp16 and "
                f"amp leave out what overflows by themselves), got {type(optimizer).__name__}; "
                "model.precision=bfloat16 computes in bfloat16 with it"
            )

    def look_at_losses(self, sample: Any, logged: dict[str, Any], update: int) -> None:
        """Ends the run at a loss that is not finite, or says that its update is left out."""
        losses = {key: logged[key] for key in ("loss", *(key for key in logged if key.startswith("L_")))}
        self.stop_or_say(self.watch.look(losses, sample["rows"], update))

    def stop_or_say(self, wrong: Optional[str]) -> None:
        """Raises :class:`NotFiniteError` for what is wrong with a loss, unless its update is left out."""
        if wrong and not self.leaves_out:
            raise NotFiniteError(remedy(wrong))
        if wrong:
            logger.warning("left out: %s", wrong)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """fairseq's own, counted."""
        super().optimizer_step(optimizer, model, update_num)
        self.updates = update_num + 1

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """fairseq's own, with what lies on a GPU read one update late (see :mod:`fairseq_musc.late`)."""
        first = logging_outputs[0] if logging_outputs else {}
        keys = [key for key, value in first.items() if torch.is_tensor(value)]
        in_training = any(key.startswith("L_") for key in first)
        if in_training and keys and all(first[key].is_cuda for key in keys):
            summed = {key: sum(logged[key] for logged in logging_outputs) for key in first}
            if ASKED in keys:  # of several processes; a run that goes on is not to hear what its last one was told
                keys.remove(ASKED)
                summed[ASKED] = float(self.asked.read(summed[ASKED].double()))
            now = torch.stack([summed[key].double() for key in keys])
            late = self.late.read(now)
            # A run goes on with another number of processes: of one, less is logged on the GPU.
            if len(late) != len(keys):
                late = now.cpu()
            logging_outputs = [{**summed, **dict(zip(keys, late.tolist(), strict=True))}]
        self.stop.hear(logging_outputs)
        super().reduce_metrics(logging_outputs, criterion)

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Called by fairseq before each validation: nothing that is not finite goes into a checkpoint unseen."""
        wrong = self.watch.look_at_the_last()
        if not self.leaves_out:  # else it is said in the next update
            self.stop_or_say(wrong)

    def post_validate(self, model: Any, stats: dict[str, Any], agg: Any) -> None:
        """Called by fairseq behind each validation: every row must have been counted once, and the loss be finite."""
        dataset = self.datasets["valid"]
        counted = {group.language: agg.get(f"_n:{group.language}") for group in dataset.groups}
        wrong = [
            f"{group.language}: {int(counted[group.language].sum)} of {len(group)}"
            for group in dataset.groups
            if counted[group.language] is not None and int(counted[group.language].sum) != len(group)
        ]
        if wrong:
            raise RuntimeError(f"validation did not count every row once ({'; '.join(wrong)})")
        loss = agg.get("loss")
        if loss is not None and not math.isfinite(loss.avg):
            raise NotFiniteError(
                f"the loss on validation data is {float(loss.avg)}: the model does not say probabilities. Is "
                "model.pretrained whole? If training has diverged, lower optimization.lr"
            )

    @said_plainly
    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """fairseq's own; that of training can be told that there is nothing left to train.

        Its loaders are kept apart, and those of the epoch or the validation before end, see :mod:`fairseq_musc.forks`.
        """
        spare_the_parent()
        end_at_once()
        iterator = super().get_batch_iterator(dataset, *args, **kwargs)
        if dataset is not self.datasets.get("train"):
            self.validation_loaders.begin(iterator)
            return iterator
        self.training_batches = TrainingBatches.of(iterator)
        self.training_loaders.begin(self.training_batches)
        return self.training_batches

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """Called by fairseq for each checkpoint: what it would not save itself, see :mod:`fairseq_musc.resuming`."""
        return {type(self).__name__: state_of_run(self.updates, self.late)}

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        """Called by fairseq with the same, when a run goes on and the place in the epoch is found."""
        resume(state, self.late)
        self.updates = state["updates"]
        reason = is_over(state, self.cfg.max_update, self.cfg.patience)
        if reason is not None:
            logger.info("this run is over: %s", reason)
            assert self.training_batches is not None
            self.training_batches.finished = True

    def max_positions(self) -> None:
        """None: nothing is dropped for its length, see :mod:`fairseq_musc.data.binarize`."""
        return None
