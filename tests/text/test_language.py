"""The guess of a language or kind is right on plain texts."""

import pytest

from groundup.text.language import guess, letters_of

TEXTS = {
    "English": "It was the best of times and the worst of times, but she did not know that.",
    "German": "Der Zug kam nicht, und die Kinder warteten auf dem Bahnsteig mit den Koffern.",
    "French": "Elle n'est pas venue avec les enfants, mais il y a une lettre pour vous dans la boîte.",
    "Spanish": "El niño no sabía que la casa de los abuelos estaba cerca del río, pero lo encontró.",
    "Chinese": "村子东边有一条小河，河上有一座石桥。",
    "Japanese": "駅前の小さな時計屋は、祖父の代から続いている。",
    "Korean": "우리 동네 끝에는 작은 빵집이 하나 있다.",
    "Cyrillic": "Старый маяк стоял на самом краю мыса.",
    "Arabic": "في حيّنا القديم بستان صغير يزوره الأطفال",
    "code": "for i in range(10):\n    x[i] = f(i) * 2\n    if x[i] > 3: print(x, end='')\n",
    "numbers": "2024-01-03 12.5 77 1024 999 3.14159 2.71828",
    "Latin": "Zzyzx kwyjibo frobnicate quux",
    "other": "?!? ... --- !!!",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_the_kind_of_a_text(kind):
    assert guess(TEXTS[kind]) == kind


def test_no_text_has_a_kind_too():
    assert guess("") == guess(" \n") == "other"


@pytest.mark.parametrize(
    ("token", "letters"),
    [(" the", "Latin"), ("你好", "Han"), ("12", "digits"), ("\n\n", "spaces"), ("--", "marks"), ("aя", "mixed scripts"),
     ("\udce4\udcbd", "bytes"), ("", "spaces")],
)  # fmt: skip
def test_what_a_token_consists_of(token, letters):
    assert letters_of(token) == letters
