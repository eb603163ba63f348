"""The registered model: a Hugging Face encoder f with a classifier h and a projector g (the paper's Figure 2)."""

# No postponed annotations here: fairseq reads the types of a dataclass's fields as they stand.
import contextlib
import json
import logging
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from torch import Tensor, nn

from fairseq_musc.errors import InputError
from fairseq_musc.mixing import Mixing
from fairseq_musc.models.attention import ATTENTIONS
from fairseq_musc.models.packed import FUSED, PackedEncoder, why_not_packed
from fairseq_musc.packing import PackedRows
from fairseq_musc.safe_loading import NO_CODE, check_config

logger = logging.getLogger(__name__)

MIX_AT = ("embedding_output", "word_embeddings")

PRECISIONS = {None: None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class MuscClassifierConfig(FairseqDataclass):
    """What the model is made of; the last four fields are filled in when it is built first and saved with it."""

    pretrained: str = field(
        default="bert-base-multilingual-cased",
        metadata={
            "help": "the encoder: a name on the Hugging Face hub, or a local folder with config.json, weights and "
            "tokenizer"
        },
    )
    classifier_dropout: float = field(default=0.1, metadata={"help": "dropout before the classifier"})
    projector_hidden: Optional[int] = field(
        default=None, metadata={"help": "width of the projector's hidden layer; the encoder's own width if null"}
    )
    projector_size: int = field(default=128, metadata={"help": "d_p, the width of a projection"})
    mix_at: str = field(
        default="embedding_output",
        metadata={
            "help": "what MixUp mixes: embedding_output (words, positions and token types after LayerNorm and dropout, "
            "as the released code) or word_embeddings (X W_e alone, as the paper prints)"
        },
    )
    attn_implementation: Optional[str] = field(
        default=None, metadata={"help": "attention of the encoder: sdpa, eager, ...; null lets transformers choose"}
    )
    packed: bool = field(
        default=True,
        metadata={
            "help": "give rows to the encoder end to end, without padding, if it is of BERT's kind; false, and other "
            "encoders: side by side, padded"
        },
    )
    precision: Optional[str] = field(
        default=None,
        metadata={
            "help": "the type in which the encoder computes: float32, bfloat16, or null for the parameters' own. The "
            "parameters stay as they are, and so do optimizer and checkpoints"
        },
    )
    attention: Optional[str] = field(
        default=None,
        metadata={
            "help": "how rows that lie end to end attend: triton, flash, efficient or padded; null takes the first "
            "that gives right results on the device"
        },
    )
    fuse: Optional[str] = field(
        default=None,
        metadata={
            "help": "how dropout, residual and norm of their layers, and GELU, are fused: triton, compile "
            "(torch.compile; a minute, once) or none; null takes triton where it gives right results"
        },
    )
    graphs: Optional[bool] = field(
        default=None,
        metadata={
            "help": "launch the kernels of their layers as CUDA graphs in training: true, false, or null for where it "
            "can be done"
        },
    )
    encoder_config: Optional[str] = field(
        default=None,
        metadata={"help": "filled in and saved with the checkpoint: the encoder's config.json as one line"},
    )
    labels: Optional[list[str]] = field(
        default=None, metadata={"help": "filled in and saved with the checkpoint: the names of the classes, in order"}
    )
    tokenizer_fingerprint: Optional[str] = field(
        default=None, metadata={"help": "filled in and saved with the checkpoint: the tokenizer of its training data"}
    )
    trained_on: Optional[str] = field(
        default=None,
        metadata={
            "help": "filled in and saved with the checkpoint: the training corpora with their rows, checksums and "
            "translators, as JSON"
        },
    )

    @staticmethod
    def problems(cfg: Any) -> list[str]:
        """Values that cannot be, each with what is allowed."""
        found = []
        if cfg.mix_at not in MIX_AT:
            found.append(f"model.mix_at is {cfg.mix_at!r}; it can be {' or '.join(MIX_AT)}")
        if cfg.precision not in PRECISIONS:
            named = " or ".join(name for name in PRECISIONS if name)
            found.append(f"model.precision is {cfg.precision!r}; it can be {named} or null")
        for name, allowed in (("attention", ATTENTIONS), ("fuse", FUSED)):
            value = getattr(cfg, name)
            if value is not None and value not in allowed:
                found.append(f"model.{name} is {value!r}; it can be {', '.join(allowed)} or null")
        if not 0 <= cfg.classifier_dropout < 1:
            found.append(f"model.classifier_dropout is {cfg.classifier_dropout}; it is at least 0 and below 1")
        for name in ("projector_size", "projector_hidden"):
            width = getattr(cfg, name)
            if width is not None and width < 1:
                found.append(f"model.{name} is {width}; it is at least 1")
        return found


class Encoded(NamedTuple):
    """What the model returns for R rows and C classes."""

    logits: Tensor
    """(R, C), h(f(E)) at [CLS]."""
    z: Tensor | None
    """(R, d_p), g(f(E)) at [CLS], of unit length, float32; None if not asked for."""


@register_model("musc_classifier", dataclass=MuscClassifierConfig)
class MuscClassifier(BaseFairseqModel):
    """Encoder, pooler, classifier and projector.

    The classifier sees the pooled [CLS] (a dense layer and tanh, the encoder's own if it has one) after dropout; the
    projector sees the raw last layer's [CLS]: Linear, ReLU, Linear, then unit length (released code, nets.py).
    """

    def __init__(self, encoder: Any, num_classes: int, cfg: MuscClassifierConfig):
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        # Encoders without a pooler of their own (DistilBERT, mDeBERTa, ModernBERT, ...) get one of BERT's kind.
        self.pooler = None if getattr(encoder, "pooler", None) is not None else nn.Linear(width, width)
        self.dropout = nn.Dropout(cfg.classifier_dropout)
        self.classifier = nn.Linear(width, num_classes)
        hidden = cfg.projector_hidden or width
        self.projector = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, cfg.projector_size)
        )  # keeps torch's own initialisation, as in the released code
        for layer in filter(None, [self.pooler, self.classifier]):
            nn.init.normal_(layer.weight, std=getattr(encoder.config, "initializer_range", 0.02))
            nn.init.zeros_(layer.bias)
        self.mixed_module = self._module_to_mix_at(cfg.mix_at)
        reason = why_not_packed(encoder)
        self.packed = cfg.packed and reason is None
        if cfg.packed and reason is not None:
            logger.warning("rows are padded for the encoder, which is slower: %s", reason)
        # In a tuple, so that torch does not take it for a part with parameters of its own.
        self._packed_encoder = (
            PackedEncoder(encoder, cfg.mix_at, attention=cfg.attention, fuse=cfg.fuse, graphs=cfg.graphs),
        )
        self.compute_in(cfg.precision)

    @classmethod
    def build_model(cls, cfg: MuscClassifierConfig, task: Any) -> "MuscClassifier":
        """fairseq's way in. The saved fields of ``cfg`` are there by now: see the task's ``build_model``."""
        problems = MuscClassifierConfig.problems(cfg)
        if problems:
            raise InputError.all_at_once("the model cannot be built:", problems)
        assert cfg.encoder_config is not None and cfg.labels is not None
        if task.from_checkpoint:
            # The weights come with the checkpoint: neither the original folder nor a network is needed.
            encoder = encoder_from_config(cfg.encoder_config, cfg.attn_implementation)
        else:
            encoder = encoder_from_pretrained(cfg.pretrained, cfg.attn_implementation)
        return cls(encoder, len(cfg.labels), cfg)

    def train(self, mode: bool = True) -> "MuscClassifier":
        """As torch's; where nothing is to change nothing is written, since fairseq asks for it in every update."""
        if any(module.training != mode for module in self.modules()):
            super().train(mode)
        return self

    def set_num_updates(self, num_updates: int) -> None:
        """Called by fairseq behind every update; its own looks through all modules for one that wants the number."""

    def compute_in(self, precision: str | None) -> None:
        """Lets the encoder compute in another type, a key of :data:`PRECISIONS`; parameters stay as they are."""
        self.computed_in = PRECISIONS[precision]
        self._packed_encoder[0].dtype = self.computed_in

    def _module_to_mix_at(self, mix_at: str) -> str:
        words = self.encoder.get_input_embeddings()
        found = {
            "word_embeddings": words,
            "embedding_output": getattr(self.encoder, "embeddings", None),
        }[mix_at]
        if found is None:
            raise InputError(
                f"model.mix_at is {mix_at!r}, but a {type(self.encoder).__name__} has no such module; "
                "model.mix_at=word_embeddings works for every encoder that looks words up in a table"
            )
        return next(name for name, module in self.encoder.named_modules() if module is found)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        mixing: Mixing | None = None,
        project: bool = True,
        packed: PackedRows | None = None,
    ) -> Encoded:
        """Encodes R rows, of L tokens at most, side by side or end to end.

        Args:
            input_ids: (R, L) int64.
            attention_mask: (R, L) int64, 1 for tokens and 0 for padding.
            token_type_ids: (R, L) int64, for encoders that know segments.
            mixing: which rows meet which; None if all are plain.
            project: whether the projections are wanted.
            packed: the rows end to end, with what mixes them, in place of all the others but ``project``; for models
                whose ``packed`` is true.
        """
        if packed is not None:
            cls = self._packed_encoder[0].cls(packed).to(self.classifier.weight.dtype)  # (R, width)
            pooled = torch.tanh(self.pooler(cls)) if self.pooler is not None else self.encoder.pooler(cls[:, None])
            return self.heads(cls, pooled, project)
        assert input_ids is not None and attention_mask is not None
        half = self.computed_in is torch.bfloat16
        with torch.autocast(input_ids.device.type, torch.bfloat16) if half else contextlib.nullcontext():
            cls, pooled = self.encode_padded(input_ids, attention_mask, token_type_ids, mixing)
        return self.heads(cls, pooled, project)

    def encode_padded(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None, mixing: Mixing | None
    ) -> tuple[Tensor, Tensor]:
        """[CLS] and the pooled [CLS] of rows side by side, (R, width) each: the encoder's own way."""
        hook = None
        if mixing is not None:
            attention_mask = mixing.attention_mask(attention_mask)
            module = self.encoder.get_submodule(self.mixed_module)
            # A hook on the module's output mixes at the same place in every encoder and every version of
            # transformers; calling the parts of the encoder one by one would follow neither.
            hook = module.register_forward_hook(lambda _module, _inputs, E: mixing.embeddings(E))
        try:
            segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **segments)
        finally:
            if hook is not None:
                hook.remove()
        cls = output.last_hidden_state[:, 0]
        return cls, output.pooler_output if self.pooler is None else torch.tanh(self.pooler(cls))

    def heads(self, cls: Tensor, pooled: Tensor, project: bool) -> Encoded:
        """Classifier and projector, on [CLS] and pooled [CLS] (R, width)."""
        own = self.classifier.weight.dtype
        logits = self.classifier(self.dropout(pooled.to(own)))  # (R, C)
        z = F.normalize(self.projector(cls.to(own)).float(), dim=1) if project else None  # (R, d_p)
        return Encoded(logits, z)

    def max_positions(self) -> None:
        """None: rows were cut to the encoder's length when they were binarized, so fairseq has nothing to drop."""
        return None

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Drops the position ids that old releases of transformers saved as a buffer."""
        for key in [key for key in state_dict if key.endswith("embeddings.position_ids")]:
            del state_dict[key]


def encoder_config_of(pretrained: str) -> dict[str, Any]:
    """The configuration of a pretrained encoder, by hub name or folder.

    Raises:
        InputError: there is no such folder, and the hub has or gives no such model.
    """
    from transformers import AutoConfig

    return json.loads(_from_hub_or_folder(AutoConfig, pretrained).to_json_string(use_diff=False))


def encoder_from_config(encoder_config: str, attn_implementation: str | None) -> nn.Module:
    """An encoder with random weights, from the saved configuration alone."""
    from transformers import AutoConfig, AutoModel

    values = json.loads(encoder_config)
    check_config("the encoder in the checkpoint", values)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    return AutoModel.from_config(config, **_attention(attn_implementation))


def encoder_from_pretrained(pretrained: str, attn_implementation: str | None) -> nn.Module:
    """An encoder with its pretrained weights.

    Raises:
        InputError: it is not there, or its files lack weights that the encoder needs (a pooler may be missing: it is
            made new, as transformers does, and said so).
    """
    from transformers import AutoModel

    encoder, report = _from_hub_or_folder(
        AutoModel, pretrained, output_loading_info=True, **_attention(attn_implementation)
    )
    new = [key for key in report["missing_keys"] if "pooler" in key]
    missing = sorted(set(report["missing_keys"]) - set(new))
    if missing:
        raise InputError(
            f"{pretrained} lacks {len(missing)} weights of a {type(encoder).__name__}: {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}; is it a folder of another architecture, or cut short?"
        )
    if new:
        logger.warning("%s has no pooler; it starts from random weights: %s", pretrained, ", ".join(sorted(new)))
    if report["unexpected_keys"]:
        logger.info("left out of %s: %s", pretrained, ", ".join(sorted(report["unexpected_keys"])))
    return encoder


def _attention(implementation: str | None) -> dict[str, str]:
    return {} if implementation is None else {"attn_implementation": implementation}


def _from_hub_or_folder(auto_class: Any, pretrained: str, **kwargs: Any) -> Any:
    check_config(pretrained)
    try:
        return auto_class.from_pretrained(pretrained, **NO_CODE, **kwargs)
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        kind = "folder" if Path(pretrained).is_dir() else "name: no such folder is here, and the hub did not give it"
        raise InputError(
            f"model.pretrained={pretrained} cannot be loaded as a {kind}.\n{error}\n"
            "Give a local folder with config.json, weights and tokenizer, or a hub name while online."
        ) from error
