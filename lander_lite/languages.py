"""Codes of languages, as in BCP 47 ("en", "zh-Hans") or FLORES ("eng_Latn"), their English names,
and translation directions ("en-zh-Hans")."""

from __future__ import annotations

import re
from functools import cache

# names that go before those of langcodes: Unicode's own "Bangla" is rare in text. A run adds those
# of its setting corpus.names.
LANGUAGE_NAMES = {"bn": "Bengali"}
SUBTAG = re.compile("[A-Z][a-z]{3}|[A-Z]{2}|[0-9]{3}")  # a script (Hans) or a region (BR, 419)


@cache
def _name(code: str) -> str:
    from langcodes import Language, LanguageTagError

    try:
        language = Language.get(code)
    except LanguageTagError:
        return code
    usual = Language.get(language.language or "und").maximize().script
    if language.script == usual != "Hans":  # eng_Latn is English; zh-Hans stays apart from zh-Hant
        language = language.update_dict({"script": None})
    if not language.is_valid():  # a region or script of somebody's own, as in gsw-ZH
        language = Language.make(language.language)
    return language.display_name("en") if language.is_valid() else code


def language_name(code: str) -> str:
    """The English name of a language: "Portuguese (Brazil)" of pt_BR; an unknown code as it is."""
    return LANGUAGE_NAMES.get(code) or _name(code)


@cache
def check_template(template: str) -> None:
    """ValueError for a template that `prompts.prompt` can't fill, or without a place for the
    sentence."""
    fields = {"source": "\0", "source_language": "a", "target_language": "b"}
    try:
        filled = template.format(**fields)
    except (LookupError, ValueError, AttributeError, TypeError, MemoryError) as error:
        fault = (
            f"unknown field {error}" if isinstance(error, KeyError) else str(error) or "too long"
        )
        takes = ", ".join(fields)
        raise ValueError(f"the template {template!r}: {fault}; it takes {takes}") from error
    if "\0" not in filled:
        raise ValueError(f"the template has no {{source}}: {template!r}")


def parse_pair(pair: str) -> tuple[str, str]:
    """("en", "de") of "en-de", ("en", "zh-Hans") of "en-zh-Hans": a script or region, which has
    capitals, belongs to the language before it. Raises ValueError for no two different languages.
    """
    languages = _codes(pair)
    if len(languages) != 2 or not all(languages) or languages[0] == languages[1]:
        wanted = "write source-target with two different codes, such as en-de or en-pt-BR"
        raise ValueError(f"{pair!r} is not a translation direction: {wanted}")
    return languages[0], languages[1]


def _codes(pair: str) -> list[str]:
    codes: list[str] = []
    for part in str(pair).strip().split("-"):
        if codes and codes[-1][:1].islower() and SUBTAG.fullmatch(part):
            codes[-1] += f"-{part}"
        else:
            codes.append(part)
    return codes


def is_pair(name: str) -> bool:
    """Whether a name is meant as a direction ("en-de", but also "en-"), not as one language."""
    return len(_codes(name)) > 1


def languages_of_pair(pair: str) -> tuple[str, ...]:
    """("en", "de") of "en-de"; ("af",) of a bare code, for plain text of one language."""
    return parse_pair(pair) if is_pair(pair) or not pair else (pair,)
