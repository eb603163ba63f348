"""The reference for every engine: fairseq-preprocess and fairseq-generate with the flags of the m2m_100 page."""

import math

from sentencepiece import SentencePieceProcessor

from fairseq_musc.translate.fairseq_commands import binarize, run_here


def by_command(folder, work, sentences, source_lang, target_lang, *flags):
    """For each sentence its hypotheses as (text, score), best first; the score in natural logarithms."""
    spm = SentencePieceProcessor(model_file=str(folder / "spm.128k.model"))
    encoded = spm.encode(list(sentences), out_type=str)
    work.mkdir()
    (work / f"spm.{source_lang}").write_text("".join(" ".join(pieces) + "\n" for pieces in encoded), encoding="utf-8")
    dictionary = folder / "data_dict.128k.txt"
    binarize(work / "spm", source_lang, target_lang, "test", dictionary, work / "bin", "--only-source")
    run_here(
        "fairseq_cli.generate",
        [
            *(str(work / "bin"), "--path", str(folder / "model.pt"), "-s", source_lang, "-t", target_lang),
            *("--fixed-dictionary", str(folder / "model_dict.128k.txt"), "--remove-bpe", "sentencepiece"),
            *("--task", "translation_multi_simple_epoch", "--encoder-langtok", "src", "--decoder-langtok"),
            *("--lang-pairs", str(folder / "language_pairs_small_models.txt"), "--gen-subset", "test"),
            *("--required-batch-size-multiple", "1", "--min-len", "2", "--cpu", "--num-workers", "0"),
            *("--results-path", str(work / "out"), *flags),
        ],
    )
    found = [[] for _ in sentences]
    for line in (work / "out" / "generate-test.txt").read_text(encoding="utf-8").split("\n"):
        if line.startswith("H-"):
            name, score, text = line.split("\t")
            found[int(name[2:])].append((text.replace("<unk>", " ").strip(), float(score) * math.log(2)))
    return found
