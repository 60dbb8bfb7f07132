"""What a text is, guessed: the script of its letters, its language where letters and little words tell it, or code.

A guess for tables and for the eye, quick and without a model; nothing is decided by it.
"""

from collections import Counter
from functools import cache

import regex

SCRIPTS = (
    "Latin", "Han", "Hiragana", "Katakana", "Hangul", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali",
    "Tamil", "Telugu", "Thai", "Georgian", "Armenian", "Ethiopic", "Khmer", "Myanmar", "Lao",
)  # fmt: skip
LANGUAGE_BY_SCRIPT = {"Han": "Chinese", "Hangul": "Korean", "Greek": "Greek", "Hebrew": "Hebrew", "Thai": "Thai"}

LITTLE_WORDS = {
    "English": "the and of to is that was with you for it he she not but they have this",
    "German": "der die das und ist nicht ein eine zu den mit sich auf für dem sie ich war",
    "French": "le la les des est et une dans que pas pour qui sur elle il ne au avec",
    "Spanish": "el los las una que por con del no para se su más como pero está y lo",
    "Italian": "il che di non una per sono della con gli è anche più nel ma si lo alla",
    "Portuguese": "não uma os com para que do da em por mais como mas ele ela foi ao são",
    "Dutch": "de het een en van ik niet dat zijn op voor met als maar hij ook naar is",
}
"""The words that are told apart best by being many: short, frequent, and not the same in all of these languages."""

N_LOOKED_AT = 20_000
"""Characters; a guess from the beginning is as good."""

_CODE = regex.compile(r"[{}\[\]();=<>_|&+*#/\\$]|^(?: {4}|\t)", regex.MULTILINE)
_LETTERS, _DIGITS, _VISIBLE = regex.compile(r"\p{L}"), regex.compile(r"\p{N}"), regex.compile(r"\S")


def guess(text: str) -> str:
    """What a text is: "English", "Chinese", "code", "numbers", the name of a script, or "other"."""
    text = text[:N_LOOKED_AT]
    n_visible = len(_VISIBLE.findall(text)) or 1
    n_letters = len(_LETTERS.findall(text))
    if len(_DIGITS.findall(text)) > 0.25 * n_visible:
        return "numbers"
    if len(_CODE.findall(text)) > 0.09 * n_visible:
        return "code"
    if n_letters < 0.4 * n_visible:
        return "other"
    return _language(text)


def _language(text: str) -> str:
    counts = Counter(map(script_of, _LETTERS.findall(text)))
    n_letters = counts.total()
    if counts["Hiragana"] + counts["Katakana"] > 0.1 * n_letters:
        return "Japanese"
    script = counts.most_common(1)[0][0]
    if script == "Latin":
        words = Counter(regex.findall(r"\p{L}+", text.lower()))
        n_known = {language: sum(words[word] for word in known.split()) for language, known in LITTLE_WORDS.items()}
        language = max(n_known, key=n_known.__getitem__)
        return language if n_known[language] > 0.08 * words.total() else "Latin"
    return LANGUAGE_BY_SCRIPT.get(script, script)


@cache
def script_of(character: str) -> str:
    """The script of a letter, a name of `SCRIPTS` or "other"."""
    return next((script for script in SCRIPTS if _of_script(script).match(character)), "other")


@cache
def _of_script(script: str) -> "regex.Pattern[str]":
    return regex.compile(rf"\p{{Script={script}}}")


def letters_of(text: str) -> str:
    """What a token consists of: the script of its letters, "mixed scripts", "digits", "spaces", "marks", or "bytes"
    for what is no text alone (which arrives as surrogate escapes)."""
    if regex.search(r"\p{Cs}", text):
        return "bytes"
    scripts = {script_of(letter) for letter in _LETTERS.findall(text)}
    if scripts:
        return scripts.pop() if len(scripts) == 1 else "mixed scripts"
    if _DIGITS.search(text):
        return "digits"
    return "marks" if _VISIBLE.search(text) else "spaces"
