"""Which language is this sentence in? A naive Bayes classifier over character n-grams, trained on the corpus at hand: no download."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence


class LanguageId:
    """Character 1- to 4-grams, add-one smoothing, equal priors (n-grams as features: Cavnar & Trenkle 1994).

    It knows only the languages it was given, and needs a few hundred sentences to tell close ones (Dutch and Afrikaans) apart; a text of
    a word or two is a guess. `texts`: {language: sentences}, at least two languages. Raises ValueError otherwise.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], orders: Sequence[int] = (1, 2, 3, 4)):
        if len(texts) < 2 or not all(texts.values()):
            raise ValueError(f"language identification needs at least two languages with text, not {list(texts)}")
        self.orders = tuple(orders)
        counts = {lang: Counter(gram for text in sentences for gram in self._grams(text)) for lang, sentences in texts.items()}
        known = set().union(*counts.values())
        self.log_probability = {}
        for lang, count in counts.items():
            total = count.total() + len(known)
            self.log_probability[lang] = {gram: math.log((count[gram] + 1) / total) for gram in known}

    def _grams(self, text: str):
        padded = f" {text.lower()} "
        return [padded[i:i + n] for n in self.orders for i in range(len(padded) - n + 1)]

    def __call__(self, text: str) -> str:
        """The likeliest language; n-grams that no language has are left out, and the first language wins ties."""
        grams = self._grams(text)
        return max(self.log_probability, key=lambda lang: sum(self.log_probability[lang].get(gram, 0.) for gram in grams))
