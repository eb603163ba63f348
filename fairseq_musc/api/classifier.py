"""The classifier object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.api.given import Labelled, as_labels, as_languages, as_list, counts_and_texts
from fairseq_musc.api.predicted import Evaluation, Predicted, evaluation
from fairseq_musc.api.translator import FolderTranslator, Translate, translated
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.progress import progress_bar

if TYPE_CHECKING:
    from fairseq_musc.api.fitting import Settings
    from fairseq_musc.api.scorer import Scorer


class TranslateAllClassifier:
    """Classifies texts in many languages: each as it is and translated into English, and the mean of the two.

    Args:
        encoder: what :meth:`fit` starts from: a name on the Hugging Face hub, or a folder.
        translator: the folder of a translator (fairseq's m2m_100, or one that ``fairseq-musc train-translator``
            made), or any function ``(texts, source, target) -> texts``. Without one, translations must be given.
        target_languages: the languages that :meth:`fit` translates the training texts into.
        folder: where :meth:`fit` keeps corpora, data-bin and checkpoints; the same folder again goes on where it was.
        recipe: the recipe of the training; ``config_dir`` is the folder of one of your own.
        overrides: what differs from the recipe, e.g. ``{"optimization.max_epoch": 2}``.
        max_length: tokens of a text, or of a pair, at most.
        engine: what reads the folder of the translator: ``fairseq``, ``ctranslate2`` or ``easynmt``.
        decoding: what differs from the defaults of translation, e.g. ``{"beam": 1}``.
        device: ``cpu``, ``cuda``, ...; None takes a GPU if there is one.
        batch_size: rows that are predicted at once.
        progress: whether to show progress bars.

    Attributes:
        classes_: the C labels in class order, once it is trained or loaded.
        checkpoint_: the file it was loaded from, if it was one.
    """

    def __init__(
        self,
        encoder: str = "bert-base-multilingual-cased",
        *,
        translator: str | Path | Translate | None = None,
        target_languages: Sequence[str] = (),
        folder: str | Path = "translate-all",
        recipe: str = "musc_marc",
        config_dir: str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        max_length: int = 128,
        engine: str = "fairseq",
        decoding: Mapping[str, Any] | None = None,
        device: str | None = None,
        batch_size: int = 128,
        progress: bool = True,
    ):
        self.encoder = encoder
        self.translator = translator
        self.target_languages = tuple(as_list(target_languages, "target_languages"))
        self.folder = Path(folder)
        self.recipe = recipe
        self.config_dir = None if config_dir is None else Path(config_dir)
        self.overrides = dict(overrides or {})
        self.max_length = max_length
        self.engine = engine
        self.decoding = dict(decoding or {})
        self.device = device
        self.batch_size = batch_size
        self.progress = progress
        self.checkpoint_: Path | None = None
        self._scorer: Scorer | None = None
        self._translate: Translate | None = None

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, tokenizer: str | None = None, **settings: Any
    ) -> TranslateAllClassifier:
        """A trained classifier.

        Args:
            path: a checkpoint (``checkpoint_best.pt``), a folder that ``fairseq-musc export`` or
                :meth:`save_pretrained` wrote, or any text classifier of Hugging Face transformers, by folder or name.
            tokenizer: that of a checkpoint whose data-bin and encoder are no longer there.
            settings: as for the class, e.g. ``translator="m2m_100"``.

        Raises:
            InputError: it is not there, or is no classifier; or a setting of the translator is wrong.
        """
        from fairseq_musc.api.scorer import open_scorer

        classifier = cls(**settings)
        classifier._opened_translator()  # a wrong one is said before the model is read
        classifier._scorer = open_scorer(path, tokenizer, classifier.device)
        classifier.checkpoint_ = Path(path) if Path(path).is_file() else None
        return classifier

    @property
    def classes_(self) -> tuple[str, ...]:
        """The labels in class order."""
        return self._trained.classes

    @property
    def _trained(self) -> Scorer:
        if self._scorer is None:
            raise InputError("this classifier is not trained; call fit, or load one with from_pretrained")
        return self._scorer

    # --- predicting ---

    def predict(
        self,
        texts: Sequence[str],
        language: str | Sequence[str],
        *,
        text_pairs: Sequence[str] | None = None,
        translations: Sequence[str] | None = None,
        translation_pairs: Sequence[str] | None = None,
        ensemble: bool = True,
        weight: float = 0.5,
    ) -> Predicted:
        """Predicts n texts on both views and averages.

        Texts in English have one view, which is then their ensemble.

        Args:
            texts: n texts.
            language: their language, or n languages.
            text_pairs: n second texts, if it is a classifier of text pairs.
            translations: n texts in English, if they are translated already; what stands there for English texts is
                not looked at.
            translation_pairs: the n second ones.
            ensemble: False predicts the texts as they are and translates nothing.
            weight: of the translation in the mean, from 0 to 1.

        Returns:
            The labels, as a sequence, with the probabilities of each view and what decided.

        Raises:
            InputError: the arguments do not go together, there is no translator, or it does not know a language.
        """
        texts = as_list(texts, "texts")
        languages = as_languages(language, len(texts))
        lists = {"texts": texts, "languages": languages, "text_pairs": text_pairs}
        lists |= {"translations": translations, "translation_pairs": translation_pairs}
        given = {name: None if values is None else as_list(values, name) for name, values in lists.items()}
        # what stands for an English text in the translations is not looked at
        told = {name: values for name, values in given.items() if not name.startswith("translation")}
        problems = [*counts_and_texts(told, "predict")]
        for name in ("translations", "translation_pairs"):
            if (values := given[name]) is not None and len(values) != len(texts):
                problems.append(f"predict: {len(values)} {name} for {len(texts)} texts")
        if translations is not None and (text_pairs is None) != (translation_pairs is None):
            problems.append("predict: text_pairs and translation_pairs go together")
        if not 0 <= weight <= 1:
            problems.append(f"predict: weight is {weight}; it is from 0 to 1")
        raise_all("these texts cannot be predicted:", problems)
        scorer = self._trained
        others = [i for i, xx in enumerate(languages) if xx != SOURCE_LANGUAGE] if ensemble else []
        pairs = given["text_pairs"]
        if given["translations"] is None:
            first, second = self._in_english(texts, pairs, languages, others)
        else:
            first = [given["translations"][i] for i in others]
            second = None if given["translation_pairs"] is None else [given["translation_pairs"][i] for i in others]
            of_english = {"translations": first, "translation_pairs": second}
            raise_all("these texts cannot be predicted:", [*counts_and_texts(of_english, "predict")])
        of_translation = np.full((len(texts), len(scorer.classes)), np.nan)
        with self._bar(len(texts) + len(others)) as bar:
            of_text = scorer.probabilities(texts, pairs, self.batch_size, bar.update)
            of_translation[others] = scorer.probabilities(first, second, self.batch_size, bar.update)
        english = dict(zip(others, first, strict=True))
        shown = tuple(english.get(i) for i in range(len(texts)))
        return Predicted(scorer.classes, of_text, of_translation, shown, weight)

    def predict_proba(self, texts: Sequence[str], language: str | Sequence[str], **options: Any) -> NDArray[np.float64]:
        """The probabilities of the ensemble, (n, C), the columns in the order of :attr:`classes_`.

        The arguments and errors are those of :meth:`predict`.
        """
        return self.predict(texts, language, **options).probabilities

    def evaluate(
        self, texts: Sequence[str], labels: Sequence[Any], language: str | Sequence[str], **options: Any
    ) -> Evaluation:
        """Predicts n labelled texts, and counts what is right on each view and for the ensemble, by language.

        Args:
            texts: n texts.
            labels: the n right labels.
            language: their language, or n languages.
            options: as for :meth:`predict`.

        Raises:
            InputError: as for :meth:`predict`; or there is another number of labels, or one that is no class.
        """
        texts = as_list(texts, "texts")
        wanted = as_labels(labels)
        language = language if isinstance(language, str) else as_list(language, "language")
        raise_all("these texts cannot be evaluated:", [*Labelled(texts, wanted).problems("evaluate", self.classes_)])
        predicted = self.predict(texts, language, **options)
        return evaluation(predicted, wanted, as_languages(language, len(texts)))

    def _in_english(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None,
        languages: Sequence[str],
        others: Sequence[int],
    ) -> tuple[list[str], list[str] | None]:
        """The texts at the places ``others`` in English, and their pairs."""
        first: dict[int, str] = {}
        second_of: dict[int, str] = {}
        for xx in dict.fromkeys(languages[i] for i in others):
            places = [i for i in others if languages[i] == xx]
            cells = [texts[i] for i in places] + ([] if pairs is None else [pairs[i] for i in places])
            english = translated(self._translator_for(xx), cells, xx, SOURCE_LANGUAGE)
            first |= dict(zip(places, english[: len(places)], strict=True))
            second_of |= dict(zip(places, english[len(places) :], strict=pairs is not None))
        return [first[i] for i in others], None if pairs is None else [second_of[i] for i in others]

    def _translator_for(self, language: str) -> Translate:
        translate = self._opened_translator()
        if translate is None:
            raise InputError(
                f"texts in {language} are to be translated into English: give the classifier a translator, or predict "
                "with translations=..., or with ensemble=False"
            )
        return translate

    def _opened_translator(self) -> Translate | None:
        """The translator as a function; its folder is opened once."""
        if self._translate is None and self.translator is not None:
            if callable(self.translator):
                self._translate = self.translator
            else:
                cpu = self.device == "cpu"
                self._translate = FolderTranslator(self.translator, self.engine, self.decoding, cpu, self.progress)
        return self._translate

    def _bar(self, total: int) -> Any:
        return progress_bar(total, "rows", "predict", disable=not self.progress)

    # --- training ---

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[Any],
        *,
        text_pairs: Sequence[str] | None = None,
        translations: Mapping[str, Sequence[str] | tuple[Sequence[str], Sequence[str]]] | None = None,
        validation: Mapping[str, tuple[Sequence[Any], ...]] | None = None,
        hold_out: float | int = 0.1,
    ) -> TranslateAllClassifier:
        """Trains on labelled texts in English and their translations.

        The training itself is a process of ``fairseq-hydra-train``, with a progress bar; Ctrl-C ends it with
        its state saved, and the same call goes on where it was.

        Args:
            texts: n texts in English.
            labels: their n labels; numbers become texts.
            text_pairs: n second texts, for a classifier of text pairs.
            translations: language to the n texts in it, if they are translated already; for pairs, to two lists.
            validation: language to labelled texts that the best checkpoint is chosen by, ``(texts, labels)`` or
                ``(texts, labels, text_pairs)``. English ones are held out of ``texts`` if there are none; a target
                language without any is validated on translations of the English ones.
            hold_out: how many of the texts that takes: a share, or a number of rows.

        Returns:
            This classifier, trained.

        Raises:
            InputError: the arguments do not go together, something is to be translated and there is no translator, or
                the folder holds another training.
            RuntimeError: the training failed; the end of its log is in the message.
        """
        from fairseq_musc.api.fitting import train, write_corpora

        pairs = None if text_pairs is None else as_list(text_pairs, "text_pairs")
        given = Labelled(as_list(texts, "texts"), as_labels(labels), pairs)
        valid = {xx: _labelled(each, f"validation in {xx}") for xx, each in (validation or {}).items()}
        made = {xx: _translated(each, given, f"translations into {xx}") for xx, each in (translations or {}).items()}
        classes = list(dict.fromkeys(given.labels))
        problems = [*given.problems("fit", None)]
        for xx, each in valid.items():
            problems += each.problems(f"validation in {xx}", classes)
            problems += each.unlike(f"validation in {xx}", given)
        for xx, each in made.items():
            problems += each.problems(f"translations into {xx}", None)
            problems += each.unlike(f"translations into {xx}", given)
        if len(classes) < 2:
            problems.append(f"fit: the labels are {', '.join(map(repr, classes)) or 'none'}; two or more are needed")
        targets = self.target_languages or tuple(sorted({*made, *valid} - {SOURCE_LANGUAGE}))
        if not targets:
            problems.append("fit: there are no target languages; name them with target_languages=...")
        unused = [f"translations into {xx}" for xx in made if xx not in targets]
        unused += [f"validation in {xx}" for xx in valid if xx not in (*targets, SOURCE_LANGUAGE)]
        if targets and unused:
            problems.append(f"fit: {' and '.join(unused)}: the target languages are {', '.join(targets)}")
        raise_all("this cannot be trained on:", problems)
        settings = self._settings(targets, made)
        write_corpora(settings, given, valid, hold_out)
        return self._loaded(train(settings, settings.corpora))

    def fit_corpora(self, corpora: str | Path) -> TranslateAllClassifier:
        """Trains on a folder of corpora, as ``fairseq-musc read`` writes it; T_trn_MT and S_val_MT are made if missing.

        The target languages are those that the folder has validation data in, unless the class was given others.

        Raises:
            InputError: corpora are missing, or the folder of this classifier holds another training.
            RuntimeError: the training failed; the end of its log is in the message.
        """
        from fairseq_musc.api.fitting import targets_of, train

        targets = self.target_languages or tuple(targets_of(Path(corpora)))
        if not targets:
            raise InputError(f"{corpora} has validation data in no language but {SOURCE_LANGUAGE}; read some first")
        return self._loaded(train(self._settings(targets, {}), Path(corpora)))

    def save_pretrained(self, folder: str | Path, predictions: str | Path | None = None) -> str:
        """Writes a folder that Hugging Face transformers loads without this package; see ``fairseq-musc export``.

        Args:
            folder: a new folder.
            predictions: a folder of predictions tables of this checkpoint, for the model card.

        Returns:
            What was written, in a line.

        Raises:
            InputError: the folder exists, this classifier is from no checkpoint, or its encoder cannot be exported.
        """
        from fairseq_musc.huggingface.export import export

        _ = self._trained
        if self.checkpoint_ is None:
            raise InputError("this classifier was loaded from a folder of transformers; copy that folder")
        return export(self.checkpoint_, Path(folder), None if predictions is None else Path(predictions))

    def _settings(self, targets: Sequence[str], made: Mapping[str, Labelled]) -> Settings:
        from fairseq_musc.api.fitting import Settings, check_overrides

        settings = Settings(
            folder=self.folder,
            encoder=self.encoder,
            recipe=self.recipe,
            config_dir=self.config_dir,
            overrides=self.overrides,
            max_length=self.max_length,
            cpu=self.device == "cpu",
            targets=targets,
            translate=self._opened_translator(),
            translations=made,
        )
        check_overrides(settings)
        return settings

    def _loaded(self, checkpoint: Path) -> TranslateAllClassifier:
        from fairseq_musc.api.scorer import open_scorer

        self._scorer = open_scorer(checkpoint, device=self.device)
        self.checkpoint_ = checkpoint
        return self


def _labelled(given: Sequence[Any], name: str) -> Labelled:
    """Validation data as they were given: texts, labels and, for pairs, the second texts.

    Raises:
        InputError: they are something else.
    """
    parts = as_list(given, name)
    if len(parts) not in (2, 3):
        raise InputError(f"{name}: {len(parts)} lists; give (texts, labels) or (texts, labels, text_pairs)")
    texts, labels, *pairs = parts
    return Labelled(as_list(texts, name), as_labels(labels, name), *(as_list(each, name) for each in pairs))


def _translated(given: Any, train: Labelled, name: str) -> Labelled:
    """Translations of the training texts with their labels; of pairs, two lists.

    Raises:
        InputError: they are not two lists.
    """
    if train.pairs is None:
        return Labelled(as_list(given, name), train.labels)
    parts = as_list(given, name)
    if len(parts) != 2:
        raise InputError(f"{name}: {len(parts)} lists or texts; of text pairs give two lists, (texts, text_pairs)")
    return Labelled(as_list(parts[0], name), train.labels, as_list(parts[1], name))
