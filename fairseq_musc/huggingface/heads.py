"""A trained classifier as one of transformers' own sequence classification models, with the same logits.

Ours is h(dropout(tanh(dense([CLS])))), the dense layer and its tanh being the encoder's own pooler where it has one.
Each encoder type of transformers has a head of its own; :data:`HEADS` is the list of those that can be made to compute
exactly this, and :data:`NO_HEAD` says of well-known others why they cannot.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fairseq_musc.errors import InputError

if TYPE_CHECKING:
    from fairseq_musc.models.classifier import MuscClassifier


class Head(NamedTuple):
    """Where transformers' sequence classification model of an encoder type keeps the parts of ours."""

    encoder: str
    dense: str
    """The layer whose tanh is the pooled [CLS]."""
    classifier: str
    dropout: str | None = None
    """The setting for the dropout before the classifier; None if there is none of its own."""
    settings: Mapping[str, Any] = {}
    """What else must be set for the same logits."""
    as_bert: Callable[[Any], tuple[dict[str, Any], Mapping[str, str]]] | None = None
    """For an encoder that is a BERT under other names: from its configuration, that of the BERT, and the parts of its
    parameters' names that are called otherwise."""


def _pooled(encoder: str, dropout: str | None = "classifier_dropout") -> Head:
    """A head that is a linear layer on the encoder's own pooler."""
    return Head(encoder, f"{encoder}.pooler.dense", "classifier", dropout)


def _dense(encoder: str, dropout: str | None = "classifier_dropout") -> Head:
    """A head of RoBERTa's kind: dense layer, tanh, linear layer, on an encoder without its pooler."""
    return Head(encoder, "classifier.dense", "classifier.out_proj", dropout)


def _context(encoder: str) -> Head:
    """DeBERTa's head, whose activation is a setting: GELU by default."""
    return Head(encoder, "pooler.dense", "classifier", "cls_dropout", {"pooler_hidden_act": "tanh"})


def _of_distilbert(config: Any) -> tuple[dict[str, Any], Mapping[str, str]]:
    """DistilBERT is BERT without segments and pooler."""
    values = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.hidden_dim,
        "hidden_act": config.activation,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "max_position_embeddings": config.max_position_embeddings,
        "initializer_range": config.initializer_range,
        "layer_norm_eps": 1e-12,
        "pad_token_id": config.pad_token_id,
    }
    names = {
        "transformer.layer": "encoder.layer",
        "attention.q_lin": "attention.self.query",
        "attention.k_lin": "attention.self.key",
        "attention.v_lin": "attention.self.value",
        "attention.out_lin": "attention.output.dense",
        "sa_layer_norm": "attention.output.LayerNorm",
        "ffn.lin1": "intermediate.dense",
        "ffn.lin2": "output.dense",
        "output_layer_norm": "output.LayerNorm",
    }
    return values, names


def _of_electra(config: Any) -> tuple[dict[str, Any], Mapping[str, str]]:
    """ELECTRA is BERT without a pooler, where its embeddings are as wide as its layers."""
    if config.embedding_size != config.hidden_size:
        raise InputError(
            f"this ELECTRA has embeddings of {config.embedding_size} under layers of {config.hidden_size}; no BERT has"
        )
    return config.to_dict(), {}


#: Encoder type (``model_type`` in config.json) to its head.
HEADS: dict[str, Head] = {
    "albert": Head("albert", "albert.pooler", "classifier", "classifier_dropout_prob"),
    "bert": _pooled("bert"),
    "camembert": _dense("roberta"),
    "deberta": _context("deberta"),
    "deberta-v2": _context("deberta"),
    "distilbert": _pooled("bert")._replace(as_bert=_of_distilbert),
    "electra": _pooled("bert")._replace(as_bert=_of_electra),
    "ernie": _pooled("ernie"),
    "gte": _pooled("gte"),
    "megatron-bert": _pooled("bert", dropout=None),
    "mpnet": _dense("mpnet", dropout=None),
    "rembert": _pooled("rembert", "classifier_dropout_prob"),
    "roberta": _dense("roberta"),
    "roberta-prelayernorm": _dense("roberta_prelayernorm"),
    "xlm-roberta": _dense("roberta"),
    "xlm-roberta-xl": _dense("roberta"),
}

#: Encoder types that training takes and that have no such head, and why.
NO_HEAD = {
    "eurobert": "its head in transformers has a GELU where this classifier has a tanh",
    "modernbert": "its head in transformers has a LayerNorm behind the dense layer, which cannot be undone",
}


def sequence_classifier(model: MuscClassifier, labels: Sequence[str], dropout: float) -> Any:
    """The model of transformers with the weights of ours, on the CPU, in 32-bit floats and eval mode.

    Its logits are those of ``model`` up to rounding.

    Args:
        model: encoder, pooler and classifier; the projector is left behind, as it plays no part in prediction.
        labels: the names of the classes, in order.
        dropout: before the classifier, for those who train it further.

    Raises:
        InputError: transformers has no head for this encoder that computes the same.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = copy.deepcopy(model.encoder.config)
    head = head_of(config.model_type)
    renamed: Mapping[str, str] = {}
    if head.as_bert is not None:
        try:
            values, renamed = head.as_bert(config)
        except InputError as error:
            raise InputError(f"{error}\n{WAYS_OUT}") from None
        values.pop("model_type", None)
        config = AutoConfig.for_model("bert", **values)
    for name, value in head.settings.items():
        setattr(config, name, value)
    if head.dropout is not None:
        setattr(config, head.dropout, dropout)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    config.name_or_path = ""  # where the encoder lay during training
    exported = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    weights = weights_for(model, head, renamed)
    if (
        head.as_bert is not None
        and (segments := f"{head.encoder}.embeddings.token_type_embeddings.weight") not in weights
    ):
        weights[segments] = torch.zeros_like(exported.state_dict()[segments])
    exported.load_state_dict(weights)  # strict: every weight has its place, and every place its weight
    return exported.eval()


def head_of(model_type: str) -> Head:
    """The head for an encoder type.

    Raises:
        InputError: there is none that computes the same.
    """
    if model_type in HEADS:
        return HEADS[model_type]
    why = NO_HEAD.get(model_type, "no head of transformers is known here to compute the same as this classifier")
    raise InputError(
        f"a classifier on a {model_type} cannot be exported: {why}. It can be for {', '.join(HEADS)}.\n{WAYS_OUT}"
    )


WAYS_OUT = (
    "Predict with the checkpoint itself (`fairseq-musc predict`, or fairseq_musc.TranslateAllClassifier in Python), or "
    "train with another model.pretrained."
)


def weights_for(model: MuscClassifier, head: Head, renamed: Mapping[str, str]) -> dict[str, Any]:
    """The weights of a classifier under the names that transformers' model has for them."""
    weights = {}
    for name, tensor in model.encoder.state_dict().items():
        if name.startswith("pooler."):
            continue
        for ours, theirs in renamed.items():
            name = name.replace(f"{ours}.", f"{theirs}.")
        weights[f"{head.encoder}.{name}"] = tensor
    for place, layer in ((head.dense, pooler_of(model)), (head.classifier, model.classifier)):
        weights |= {f"{place}.{name}": tensor for name, tensor in layer.state_dict().items()}
    return weights


def pooler_of(model: MuscClassifier) -> Any:
    """The dense layer of the pooler, the encoder's own or ours."""
    from torch import nn

    if model.pooler is not None:
        return model.pooler
    (dense,) = [module for module in model.encoder.pooler.modules() if isinstance(module, nn.Linear)]
    return dense
