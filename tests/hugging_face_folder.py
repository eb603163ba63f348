"""A translator of ours in the format of facebook/m2m100_418M: the same weights, read by code that knows nothing of us.

The tokenizer there gives ids to all languages of m2m_100, and to eight words to fill up, whatever the vocabulary holds.
The rows of those that our translator lacks are made such that they cannot be chosen: the states that the decoder's last
normalisation gives lie in a plane, gain * z + bias with mean(z) = 0, and on it the product with ``steep / gain`` is
constant.
"""

import argparse
import json
import shutil

import torch
from transformers import GenerationConfig, M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

#: fairseq's special symbols, which its dictionary files leave out.
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def write_hugging_face_folder(translator, folder):
    """Writes the translator of a folder of ours as Hugging Face's files into a new folder."""
    folder.mkdir()
    pieces, words = (
        SPECIAL + [line.rsplit(" ", 1)[0] for line in (translator / name).read_text("utf-8").splitlines()]
        for name in ("data_dict.128k.txt", "model_dict.128k.txt")
    )
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}, ensure_ascii=False))
    shutil.copy(translator / "spm.128k.model", folder / "sentencepiece.bpe.model")
    languages = [f"__{xx}__" for xx in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
    M2M100Tokenizer(
        str(folder / "vocab.json"),
        str(folder / "sentencepiece.bpe.model"),
        additional_special_tokens=languages,
        model_max_length=1024,
    ).save_pretrained(folder)

    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(translator / "model.pt", weights_only=True)
    settings, weights = state["cfg"]["model"], state["model"]
    order = [*pieces, *languages, *(f"madeupword{i:04}" for i in range(8))]
    gain, bias = weights["decoder.layer_norm.weight"], weights["decoder.layer_norm.bias"]
    never = -100 / (bias / gain).sum() / gain
    old = weights["encoder.embed_tokens.weight"]
    rows = [old[words.index(word)] if word in words else never for word in order]
    config = M2M100Config(
        vocab_size=len(order),
        d_model=settings.encoder_embed_dim,
        max_position_embeddings=settings.max_source_positions,
        **{
            f"{side}_{ours}": getattr(settings, f"{side}_{theirs}")
            for side in ("encoder", "decoder")
            for ours, theirs in (
                ("layers", "layers"),
                ("ffn_dim", "ffn_embed_dim"),
                ("attention_heads", "attention_heads"),
            )
        },
    )
    model = M2M100ForConditionalGeneration(config)
    ours = {
        f"model.{name}": tensor for name, tensor in weights.items() if "embed" not in name and "version" not in name
    }
    del ours["model.decoder.output_projection.weight"]
    unfilled, unknown = model.load_state_dict({**ours, "model.shared.weight": torch.stack(rows)}, strict=False)
    assert not unknown and all("embed" in name or name == "lm_head.weight" for name in unfilled), (unfilled, unknown)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, early_stopping=True, num_beams=5,
        max_length=200,
    )  # fmt: skip
    model.save_pretrained(folder)
