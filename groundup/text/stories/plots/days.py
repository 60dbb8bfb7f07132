"""Other shapes: a lesson, a busy day, letters, diaries, riddles, trades, games and journeys."""

from collections.abc import Sequence
from typing import Any

from groundup.text.stories import passages
from groundup.text.stories.dice import capital, with_article
from groundup.text.stories.facts import COLOURS_OF, EATS, LEGS, SOUNDS, YOUNG
from groundup.text.stories.kinds import is_known_sum
from groundup.text.stories.plots import scenes
from groundup.text.stories.teller import Teller
from groundup.text.stories.world import (
    BEASTS,
    COLOURS,
    DAYS,
    FOODS,
    NUMBERS,
    PEOPLE,
    PLACES,
    SPOTS,
    THINGS,
    Person,
    Thing,
)


def _draw(t: Teller, *names: str) -> dict[str, Any]:
    """New values for these slots; people are never A."""
    pick = t.dice.pick
    made: dict[str, Any] = {}
    for name in names:
        if name in "BC":
            made[name] = pick(PEOPLE)
            while made[name] is t.slots["A"]:
                made[name] = pick(PEOPLE)
        elif name in "PQ":
            made[name] = pick(PLACES)
        elif name in "TU":
            made[name] = Thing(pick(THINGS), pick(COLOURS) if t.dice.chance(0.5) else "")
        else:
            made[name] = pick(_DRAWN[name])
    return made


_DRAWN: dict[str, Sequence[Any]] = {
    "F": tuple(map(Thing, FOODS)), "K": BEASTS, "S": SPOTS, "day": DAYS, "colour": COLOURS, "n": NUMBERS[2:8],
}  # fmt: skip


def lesson(t: Teller) -> None:
    """Somebody asks, others answer: facts, sums, opposites."""
    t.title = t.dice.pick(("", "", "A Lesson", "Questions and Answers", "What Do You Know?"))
    if t.dice.chance(0.6):
        t.slots["G"] = Person("the teacher", t.person("G").pronouns)
    t.say(
        "It was {day} morning, and {G} asked many questions.".replace("{day}", t.dice.pick(DAYS)),
        "At school {G} wanted to know what the children had learned.",
        "{A}, {B} and {C} sat in the first row, and {G} began to ask.",
        "On the long way {P.to} {G} and the children asked each other questions.",
        '"Let us see what you know," said {G}.',
        "It was raining, so {A} and {B} stayed inside and asked each other what they knew.",
    )
    askers = ("G", "G", "G", "A", "B")
    for _ in range(t.dice.between(4, 8)):
        style = t.dice.random()
        if style < 0.5:
            asker = t.dice.pick(askers)
            answerer = t.dice.pick([slot for slot in "ABC" if slot != asker])
            question, answer = scenes.fact_question(t)
            t.exchange(asker, question, answerer, answer)
            t.maybe(
                0.15, '"[Right|Very good|That is right|Well done]," said {G}.' if asker == "G" else "Everybody agreed."
            )
        elif style < 0.75:
            t.slots["fact"] = scenes.fact_clause(t)
            t.slots["who"] = t.person(t.dice.pick("ABCG")).name
            t.say(
                "{who} [said|knew|told them|remembered] that {fact}.",
                '"[I know that|Everybody knows that|In this book it says that|Do not forget that] {fact}," said {who}.',
            )
        else:
            t.sentences.append(capital(scenes.fact_clause(t)) + ".")
    t.say(
        '"That is enough for today," said {G}.',
        "Then the bell rang, and they all ran out.",
        "{A} had answered the most questions and got {F.a}.",
        "In the evening {A} asked {A.his} {R} the same questions.",
        '"How do you know all that?" asked {C}. "I read," said {A}.',
    )


def facts_only(t: Teller) -> None:
    """Short questions and answers without a story, as in a school book."""
    for _ in range(t.dice.between(8, 14)):
        if t.dice.chance(0.6):
            question, answer = scenes.fact_question(t)
            t.sentences.append(f"{question} {capital(answer)}.")
        else:
            t.sentences.append(capital(scenes.fact_clause(t)) + ".")
        if t.dice.chance(0.5):
            t.sentences.append("\n")


def busy_day(t: Teller) -> None:
    """Several people do several things; afterwards somebody asks about it."""
    told = passages.passage(t.dice, t.dice.between(2, 6))
    t.maybe(
        0.5,
        "It was a busy day in the village.",
        "On {day} everybody had something to do.".replace("{day}", t.dice.pick(DAYS)),
        "Many things happened that day.",
    )
    t.sentences.append(told.text)
    style = t.dice.random()
    if style < 0.5:
        t.sentences.append("\n")
    elif style < 0.9:
        t.say(
            "In the evening {G} asked {A} about it.",
            "{A} had seen it all, and {B} asked about it.",
            "Do you remember it?",
        )
    for question, answer in passages.several(t.dice, told, t.dice.between(2, 5)):
        if style < 0.5 or style >= 0.9:
            t.sentences.append(f"{question} {answer}")
        else:
            t.exchange(t.dice.pick("GB"), question, "A", answer[:-1])


def own_letter(t: Teller) -> None:
    """A writes to B in the first person."""
    t.sentences.append(t.dice.fill("[Dear|My dear|Hello] {B},", t.slots))
    if t.dice.chance(0.5):
        t.sentences.append("\n")
    t.say(
        "How are you? I am [fine|well|happy here].",
        "I am writing to you from {P.the}.",
        "I have been {P.at} for {n} days now.".replace("{n}", t.dice.pick(NUMBERS[2:12])),
        "Thank you for your letter. It came on {day}.".replace("{day}", t.dice.pick(DAYS)),
    )
    t.each(
        t.dice.between(3, 6),
        lambda: _draw(t, "Q", "U", "C", "day"),
        "On {day} I went {Q.to} with my {R}.",
        "My {R} gave me {U.a}, which I had wanted for so long.",
        "Yesterday I saw {K} {Q.at}, and I had to laugh.",
        "{C} is here too, and we play every day.",
        "I lost my {U}, but {C} found it {S.at}.",
        "It is [cold|warm|windy|very hot] here, and it rains [every day|only at night].",
        "There is {F.a} for lunch, and I like it.",
        "I have learned that " + scenes.fact_clause(t) + ".",
        "At night I can hear an owl, and then I think of home.",
        "Do you remember the day when we were {Q.at}?",
        "If you come, I will show you {Q.the}.",
    )
    t.say(
        "Please write soon!",
        "Say hello to {C} for me.",
        "I will be home on {day}.".replace("{day}", t.dice.pick(DAYS)),
        "I hope that you are well.",
        "When will you visit me?",
    )
    t.sentences.append("\n")
    t.sentences.append(t.dice.fill("[Your|Your friend|Love,|Best wishes,] {A}", t.slots))
    if t.dice.chance(0.3):
        t.note("Who wrote the letter?", "{A}")
        t.note("To whom did {A} write?", "{B}")
        scenes.questions_after(t)
        t.notes.clear()


def diary(t: Teller) -> None:
    """A week, day by day."""
    t.title = t.dice.pick(("", "A Week", f"{t.person('A')}'s Week", "My Week"))
    first = t.dice.between(0, 3)
    t.maybe(0.5, "This is what {A} did in that week.", "It was a good week for {A}.", "{A} wrote everything down.")
    last = len(DAYS) if t.dice.chance(0.5) else first + 3
    for day in DAYS[first:last]:
        t.slots |= _draw(t, "Q", "F", "U", "B", "S") | {"day": day}
        t.say(
            "On {day} {a} went {Q.to}[| and met {B}| and came back late].",
            "On {day} it [rained|snowed], so {A} stayed at home and read.",
            "{day} was [a good|a bad|a long|the best] day, because {B} [came to visit|was there|was not there].",
            "On {day} {A} found {U.a} {S.at}.",
            "On {day} there was {F.a} for dinner.",
            "{A} helped {B} {Q.at} on {day}.",
            "On {day} {A} was ill and had to stay in bed.",
            "On {day} {A} learned that " + scenes.fact_clause(t) + ".",
        )
        if t.dice.chance(0.3) and "went" in t.sentences[-1]:
            t.note("Where did {A} go on {day}?", "{Q.to}")
    t.say(
        "And then a new week began.", "What a week!", "{A} was glad when it was over.", "Next week will be different."
    )


def riddle(t: Teller) -> None:
    """An animal or a thing has to be guessed from what is said about it."""
    t.say(
        '"I am thinking of something," said {A}. "Can you guess it?"',
        "{A} and {B} were {P.at} and played a guessing game.",
        "On the way {P.to} {A} asked {B} a riddle.",
        '"Guess what I am," said {A}.',
    )
    sounds, legs, eats, young, colours = map(dict, (SOUNDS, LEGS, EATS, YOUNG, COLOURS_OF))
    animal = t.dice.pick([x for x in sounds if x in legs or x in eats or x in young])
    t.slots["animal"] = animal
    t.slots["an"] = with_article(animal)
    hints = [f"It says {sounds[animal]}"]
    if animal in legs:
        hints.append(f"It has {legs[animal]}")
    if animal in eats:
        hints.append(f"It likes to eat {eats[animal]}")
    if animal in young:
        hints.append(f"Its young one is called {with_article(young[animal])}")
    if f"a {animal}" in colours:
        hints.append(f"It is {colours['a ' + animal]}")
    wrong = [x for x in sounds if x != animal]
    for hint in t.dice.some(hints, min(len(hints), t.dice.between(2, 4))):
        t.slots["hint"] = hint
        t.say('"{hint}," said {A}.', '"{hint}."')
        if t.dice.chance(0.4):
            t.exchange("B", f"Is it {with_article(t.dice.pick(wrong))}?", "A", "no, it is not")
    t.exchange("B", f"Is it {t.slots['an']}?", "A", "yes, it is")
    t.note("What was it?", t.slots["an"])
    t.say(
        "Then it was {B}'s turn.",
        "{B} had guessed it and was proud.",
        "They played until they came home.",
        '"That was easy," said {B}.',
    )


def trades(t: Teller) -> None:
    """A swaps one thing for another, again and again."""
    t.title = t.dice.pick(("", "A Good Trade", "The Chain"))
    things = [Thing(name) for name in t.dice.some(THINGS, 5)]
    people = t.dice.some([person for person in PEOPLE if person is not t.person("A")], 4)
    t.slots["T"] = things[0]
    t.say(
        "{A} had {T.a}, but {A.he} did not need it any more.",
        "All that {A} had was {T.a}.",
        "One day {A} took {A.his} {T} and went {P.to}.",
    )
    n = t.dice.between(2, 4)
    for i in range(n):
        t.slots |= {"T": things[i], "U": things[i + 1], "B": people[i], "Q": t.dice.pick(PLACES)}
        t.say(
            "{Q.at} {a} met {B}, who gave {A.him} {U.a} for the {T}.",
            '"Give me your {T}, and you get my {U}," said {B}, and so they did.',
            "{B} needed {T.a} and had {U.a}. They swapped.",
            "{B} liked the {T} so much that {B.he} gave {A} {U.a} for it.",
            "Then {A} gave the {T} to {B} and got {U.a}.",
        )
        t.note("Who got the {T}?", "{B}")
        t.note("What did {A} get for the {T}?", "{U.a}")
    end = t.dice.random()
    t.slots["first"] = things[0]
    if end < 0.4:
        t.say("In the end {A} gave the {U} to {A.his} {R}, who was very happy.", "{A} took the {U} home and kept it.")
    elif end < 0.7:
        t.say('Then {B} came back. "I want my {U} again," {B.he} said.', "At home {a} saw that the {U} was broken.")
        t.say(
            "So {A} had nothing at all, but {a} had met many people.",
            "{A} had to laugh: it had been a fine day all the same.",
        )
    else:
        t.say(
            "At last somebody wanted the {U} and gave {A} the old {first} for it!",
            "And what did {a} get for the {U} in the end? The {first} with which {a} had begun!",
        )
        t.say("{A} was glad to have it back.", "Then {a} knew how much {a} liked it.")


def hide_and_seek(t: Teller) -> None:
    """Everybody hides somewhere, and one has to find them."""
    t.say(
        "{A} and {A.his} friends were playing hide and seek {P.at}.",
        '"I will count to {n}," said {A}, "and you hide."'.replace("{n}", t.dice.pick(("ten", "twenty", "a hundred"))),
        "It was {A}'s turn to look for the others.",
    )
    hiders = t.dice.some([person for person in PEOPLE if person is not t.person("A")], t.dice.between(2, 4))
    spots = [
        spot
        for spot in t.dice.some(SPOTS, 12)
        if not spot.at.startswith("on the") and spot.name not in ("drawer", "bucket", "bag")
    ]
    places = list(zip(hiders, spots, strict=False))
    for person, spot in places:
        t.slots |= {"B": person, "S": spot}
        t.say(
            "{B} [hid|sat down|was] {S.at}.",
            "{B} [ran to hide|went to hide] {S.at}.",
            "{B} chose a good place: {S.at}.",
        )
        t.note("Where was {B}?", "{S.at}")
    t.say('"I am coming!" called {A}.', "Then {A} opened {A.his} eyes and looked around.")
    t.forget()
    for person, spot in t.dice.some(places, len(places)):
        t.slots |= {"B": person, "S": spot}
        t.say(
            "{a} looked {S.at} and found {B}.",
            "{S.at} {a} saw a foot. It was {B}!",
            "{B} had to [laugh|sneeze], so {A} found {B.him} {S.at}.",
            '"I see you, {B}!" called {A}. "You are {S.at}!"',
        )
    t.note("Who was found last?", "{B}")
    t.say("{B} was the last one and had won.", "Now it was {B}'s turn to count.", "They played until it was dark.")


def counting(t: Teller) -> None:
    """Somebody has some, gets more, gives some away."""
    t.title = t.dice.pick(("", "How Many?", "Counting"))
    noun = t.dice.pick(
        ("apples", "eggs", "coins", "shells", "buttons", "plums", "stones", "books", "candles", "cookies")
    )
    while True:
        x, y = t.dice.between(1, 9), t.dice.between(1, 9)
        if is_known_sum(x, y):
            break
    z = t.dice.between(1, x + y)
    t.slots |= {
        "nouns": noun,
        "x": NUMBERS[x],
        "y": NUMBERS[y],
        "s": NUMBERS[x + y],
        "z": NUMBERS[z],
        "left": NUMBERS[x + y - z],
    }
    t.slots |= {"X": noun if x > 1 else noun[:-1], "Y": noun if y > 1 else noun[:-1], "dx": x, "dy": y, "ds": x + y}
    scenes.opening(t)
    t.say(
        "{A} had {x} {X} in {A.his} bag.",
        "In the basket there were {x} {nouns}." if x > 1 else "In the basket there was one {X}.",
        "{a} counted {A.his} {nouns}: there were {x}." if x > 1 else "{a} had only one {X}.",
    )
    t.say("Then {B} gave {A.him} {y} more.", "{S.at} {a} found {y} more.", "{A.his} {R} brought {y} more.")
    t.exchange("B", f"How many {noun} do you have now?", "A", f"{NUMBERS[x]} and {NUMBERS[y]} make {NUMBERS[x + y]}")
    t.note("How many {nouns} did {A} have then?", "{s}")
    t.maybe(0.4, "{dx} + {dy} = {ds}, and that was right.", "{B} counted too: {s}, that was right.")
    if t.dice.chance(0.6):
        t.say(
            "{a} gave {z} of them to {C}.",
            "On the way {a} lost {z} of them.",
            "They ate {z} of them." if noun in ("apples", "eggs", "plums", "cookies") else "{A} gave {z} of them away.",
        )
        t.say(
            "So {left} were left." if x + y - z != 1 else "So only one was left.",
            "Now {A} had {left}." if x + y != z else "Now {A} had none.",
        )
        t.note("How many were left?", "{left}")
    scenes.ending(t)


def journey(t: Teller) -> None:
    """A travels from place to place and meets somebody everywhere."""
    t.title = t.dice.pick(("", "A Long Way", "The Journey"))
    scenes.opening(t)
    t.slots["by"] = t.dice.pick(("on foot", "by train", "by boat", "on a horse", "by bus", "on a bicycle"))
    t.say(
        "{a} wanted to visit {C}, who lived far away.",
        "{A} wanted to see the world.",
        '"I am going on a journey," said {A}.',
    )
    t.say("{a} travelled {by}.", "Early in the morning {a} left, {by}.")
    t.note("How did {A} travel?", "{by}")
    forms = (
        "{Q.at} {a} met {B}, who told {A.him} the way.",
        "{Q.at} {a} rested and ate {F.a}.",
        "Then {a} came {Q.to} and stayed there for a night.",
        "{Q.at} there was {K}, and {A} had to wait until {K.he} went away.",
        "After that the way went past {Q.the}, where {A} had never been before.",
        "{Q.at} it began to rain, and {B} lent {A.him} an umbrella.",
        "The next morning {a} was {Q.at}, [though nobody knew how|tired but happy|and the sun was shining].",
        "{B}, whom {A} met {Q.at}, was going the same way.",
    )
    n = t.dice.between(2, 4)
    for place, form in zip(t.dice.some(PLACES, n), t.dice.some(forms, n), strict=True):
        t.slots |= _draw(t, "B", "K", "F") | {"Q": place}
        t.say(form)
        scenes.pause(t, 0.4)
    t.say(
        "At last {a} was there.",
        "In the evening {a} saw the light in the window.",
        "After a long time {A} came home again.",
    )
    t.say(
        "{a} had so much to tell!",
        '"[Where have you been|Are you back already]?" asked {C}.',
        "It was good to travel, but it was good to be at home, too.",
    )


def market(t: Teller) -> None:
    """Everybody buys something of a colour, at a stall of some kind."""
    t.say(
        "On market day {A}, {B} and {C} went to town.",
        "It was market day, and everybody wanted to buy something.",
        "There were many people at the market that {day}.".replace("{day}", t.dice.pick(DAYS)),
    )
    colours = t.dice.some(COLOURS, 3)
    things = t.dice.some(THINGS, 3)
    for slot, colour, name in zip("ABC", colours, things, strict=True):
        t.slots |= {"T": Thing(name, colour), "colour": colour}
        up, low = "{" + slot + "}", "{" + slot.lower() + "}"
        t.say(
            f"{up} bought {{T.a}}.",
            f"{up} looked for a long time and then took {{T.a}}.",
            f"What {up} liked best was {{T.a}}, so {low} bought it.",
            f"There was {{T.a}}. {up} paid two coins for it.",
        )
        t.note(f"What colour was {up}'s {{T}}?", "{colour}")
        t.note("Who bought {T.a}?", up)
        t.note(f"What did {up} buy?", "{T.a}")
        t.maybe(0.2, f'"It is [nice|fine|just right]," said {up}.', "{G} gave " + up + " {F.a} as well.")
    t.say(
        "Then they had no money left.",
        "On the way home they showed each other everything.",
        "{A} was so happy that {A.he} sang all the way home.",
        "When it was over, {G} packed everything into the cart.",
    )
    t.maybe(0.3, "{B} forgot something at the market and had to go back.", "At home {A} put it {S.at}.")


def portrait(t: Teller) -> None:
    """Who somebody is and what somebody does every day, in the present tense."""
    t.say(
        "{A} is a {A.child} who lives near {P.the}.",
        "This is {A}.",
        "Everybody knows {A}, the {A.child} from {P.the}.",
        "My friend is called {A}.",
    )
    t.each(
        t.dice.between(5, 9),
        lambda: _draw(t, "Q", "T", "F", "B", "day", "colour", "n"),
        "{a} has {n} [brothers|sisters|cats|friends].",
        "{a} likes {F.a} [in the morning|for lunch|more than anything].",
        "On {day} {a} goes {Q.to}.",
        "{a} has {T.a} and keeps it {S.at}.",
        "{A.His} favourite colour is {colour}.",
        "{A.His} best friend is {B}, who lives next door.",
        "{a} can [run|sing|swim|draw|climb] [very well|better than {B}].",
        "If it rains, {a} reads a book, and if the sun shines, {a} is {Q.at}.",
        "{a} is afraid of [dogs|the dark|storms|spiders], but {a} never says so.",
        "When {a} is sad, {a} thinks of {Q.the}.",
        "{a} knows that " + scenes.fact_clause(t) + ".",
        "{A.His} {R} is [a baker|a teacher|a farmer|a doctor|a sailor], and {A} wants to be one too.",
    )
    t.say(
        "One day {a} will travel around the world.",
        "Would you like to be {A.his} friend?",
        "That is {A}.",
        "And what do you do all day?",
    )


PLOTS = (
    lesson,
    facts_only,
    own_letter,
    diary,
    riddle,
    trades,
    hide_and_seek,
    counting,
    journey,
    market,
    portrait,
)
PASSAGES = (busy_day,)
