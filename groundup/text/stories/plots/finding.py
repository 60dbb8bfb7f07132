"""Something is lost, found, sent or heard, and somebody wants to know more."""

from groundup.text.stories.dice import capital
from groundup.text.stories.plots import scenes
from groundup.text.stories.teller import Teller


def lost_thing(t: Teller) -> None:
    """A looks for T, asks around, and it turns up where nobody thought of it."""
    t.title = f"The {t.dice.pick(('Lost', 'Missing'))} {capital(t.slots['T'].name)}"
    scenes.opening(t)
    t.say(
        "{A} had {T.a}, and {A.he} took it everywhere.",
        "In {A.his} bag {A} had {T.a}, a gift from {A.his} {R}.",
        "The best thing {A} had was {T.a}.",
        "{A} wanted to play with {A.his} {T}.",
    )
    t.maybe(
        0.4,
        "It was not new, but {A} loved it.",
        "It was old, but there was none like it.",
        "{A.His} {R} had made it for {A.him}.",
    )
    scenes.pause(t, 0.3)
    t.say(
        "But [now|that day|when {a} looked for it] the {T} was [gone|nowhere to be seen].",
        "But when {a} opened the bag, there was no {T} in it.",
        "Then {a} saw that the {T} was missing.",
        '"Where is my {T}?" [cried|called|asked] {A}.',
    )
    t.feel("A", "bad")
    t.note("Why was {A} sad?", "because the {T} was gone")
    if t.dice.chance(0.5):
        scenes.meeting(t)
        t.exchange(
            "A",
            f"Have you seen my {t.slots['T'].name}?",
            "B",
            t.dice.pick(("no, I have not", "no, but I will help you", "not today")),
        )
    t.say(
        "{a} looked {P.at}, but the {T} was not there.",
        "{a} looked under the bed, behind the door and even in the shoes.",
        "They looked [here and there|everywhere|high and low].",
        "First {a} looked in the bag, then {P.at}, and then once more in the bag.",
    )
    end = t.dice.random()
    if end < 0.35:
        t.say(
            "At last {B} found the {T} {S.at}.",
            '"Look!" called {B}. The {T} was {S.at}.',
            "It was {B} who saw it first: the {T} lay {S.at}.",
        )
        t.note("Where was the {T}?", "{S.at}")
        t.note("Who found the {T}?", "{B}")
        t.say(
            "{A} had left it there [the day before|in the morning] and forgotten it.",
            '"Of course!" said {A}. "I put it there myself."',
        )
    elif end < 0.65:
        t.say(
            "Then {K} came by with the {T} in {K.his} mouth.",
            "Suddenly {a} saw {K}, who was sitting on the {T}.",
            "Behind a tree sat {K}, and between {K.his} feet lay the {T}.",
        )
        t.note("Who had the {T}?", "{K}")
        t.say(
            '"I only wanted to look at it," said {K}.',
            "{K.He} had thought it was something to eat.",
            "{A} gave {K} {F.a}, and {K} gave back the {T}.",
        )
    else:
        scenes.travel(t)
        t.exchange(
            "A",
            f"Is my {t.slots['T'].name} here?",
            "C",
            t.dice.pick(("yes, it is " + t.slots["S"].at, "look " + t.slots["S"].at)),
        )
        t.say("And [really|indeed], there it was.", "{a} looked {S.at}, and there was the {T}.")
        t.note("Where was the {T}?", "{S.at}")
    t.feel("A", "good")
    scenes.ending(t)


def treasure(t: Teller) -> None:
    """A map leads two friends from place to place to a box with something unexpected in it."""
    t.title = t.dice.pick(("The Old Map", "A Map in a Bottle", "The Treasure"))
    scenes.opening(t)
    t.say(
        "{S.at} {a} found an old map.",
        "{a} found a bottle, and in the bottle there was a map.",
        "An old map fell out of a book.",
    )
    t.note("What did {A} find?", "an old map")
    t.say(
        "There was a red cross on it, right next to {Q.the}.",
        'On the map stood: "Go {Q.to} and dig."',
        "Somebody had drawn a road from {P.the} to {Q.the}.",
    )
    scenes.meeting(t)
    t.say(
        '"Shall we look for the treasure?" asked {B}.',
        '"It is a treasure map!" said {B}, and {B.his} eyes were shining.',
        "{B} had a spade at home and went to get it.",
    )
    scenes.travel(t, together=True)
    t.slots["n"] = t.dice.pick(("two", "three", "four"))
    t.say(
        "They had to dig for {n} hours[| before they heard something hard].",
        "{A} began to dig while {B} held the lamp.",
        "They counted ten steps to the left and dug a deep hole.",
    )
    t.say(
        "[In|Deep in] the ground there was a box.", "Then the spade hit a box.", "At last they pulled out a heavy box."
    )
    t.exchange("A", t.dice.pick(("Is it gold?", "What is in the box?", "Can you open it?")), "B", "let us see")
    end = t.dice.random()
    if end < 0.4:
        t.say("In the box lay {U.a} and a letter.", "But there was no gold in it, only {U.a}.")
        t.note("What was in the box?", "{U.a}")
        t.say(
            '"[The one who finds this may keep it|Keep it and be happy]," said the letter.',
            "{B} laughed, and {A} laughed too.",
        )
    elif end < 0.7:
        t.say("The box was empty!", "There was nothing in the box but [sand|stones|dust].")
        t.say(
            '"[Never mind|It does not matter]," said {B}. "[We had a good time|Looking for it was the best part]."',
            "First they were sad, but then {A} had to laugh.",
        )
    else:
        t.say(
            'Then {G} came and said: "I put that box there when I was young!"',
            "It belonged to {G}, who had lost it years ago.",
        )
        t.note("Whose was the box?", "it belonged to {G}")
        t.say("{G} gave them {U.a} as thanks.", "{G} was so happy that {G.he} gave each of them {F.a}.")
    scenes.ending(t)


def lost_animal(t: Teller) -> None:
    """A finds an animal that does not know the way home, and looks for its owner."""
    scenes.opening(t)
    t.slots["pet"] = t.dice.pick(("puppy", "kitten", "lamb", "duckling", "piglet", "rabbit"))
    t.say(
        "{S.at} {a} found a little {pet}.",
        "Something moved {S.at}: it was a [small|wet|tired] {pet}.",
        "A little {pet} sat {S.at} and looked at {A.him}.",
    )
    t.note("What did {A} find?", "a little {pet}")
    t.note("Where was the {pet}?", "{S.at}")
    t.say(
        "It was [cold|hungry|afraid|alone], so {a} [gave it {A.his} scarf|took it in {A.his} arms|gave it "
        "something to eat].",
        '"You look [hungry|lonely|cold]," said {A}. "Where is your home?"',
        "{A} wanted to keep it, but {a} knew that somebody was missing it.",
    )
    t.paragraph()
    t.say(
        "{A} asked everybody {P.at}.",
        "So {a} went from door to door.",
        "{a} carried it {Q.to}, where many people were.",
    )
    t.exchange(
        "A",
        f"Is this your {t.slots['pet']}?",
        "G",
        t.dice.pick(("no, it is not mine", "no, mine is bigger", "I have no " + t.slots["pet"])),
    )
    if t.dice.chance(0.5):
        t.exchange(
            "A",
            f"Do you know this {t.slots['pet']}?",
            "B",
            t.dice.pick(("yes, it belongs to {C}", "I think it is {C}'s")).format(C=t.person("C")),
        )
    t.say(
        "Then {C} came running.",
        "At the last house {C} opened the door.",
        "At that moment {a} heard {C} calling.",
    )
    t.say(
        '"[There you are|I have looked for you all day]!" cried {C}, and the {pet} jumped for joy.',
        "The {pet} ran to {C} at once, for it was {C} who had lost it.",
    )
    t.note("Whose was the {pet}?", "it was {C}'s")
    t.say(
        '"You may visit us whenever you like," {C} told {A}.',
        "{C} thanked {A} and gave {A.him} {U.a}.",
        "{A} was a little sad, but also [glad|proud].",
    )
    scenes.ending(t, good=t.dice.chance(0.8))


def strange_noise(t: Teller) -> None:
    """A hears something at night, is afraid, looks, and it is harmless."""
    t.title = t.dice.pick(("A Noise in the Night", "Who Is There?", "The Dark House"))
    t.say(
        "One [dark|windy|cold] night {A} woke up.",
        "It was the middle of the night when {A} heard a noise.",
        "{A} could not sleep, because the moon was so bright.",
    )
    t.say(
        "Something went [bump|tap, tap, tap|crash], and the noise came from {P.the}.",
        "There was a strange sound. It came from {P.the}.",
        "Somebody, or something, was {P.at}!",
    )
    t.note("Where did the noise come from?", "from {P.the}")
    t.say(
        "{a} was afraid, but {a} also wanted to know what it was.",
        "{a} pulled the blanket over {A.his} head.",
        "{A.his} heart beat fast.",
    )
    t.note("How did {A} feel?", "afraid")
    t.maybe(
        0.5,
        "It was quiet, and then it came again, [louder than before|a little nearer].",
        "Was it the wind? No, the wind had gone to sleep.",
        "{A.his} {R} was sleeping and heard nothing.",
    )
    t.say(
        "In the end {a} took a lamp and got up.",
        "{a} woke {A.his} {R}, and together they went to look.",
        "Step by step, {a} went down the stairs.",
    )
    t.maybe(
        0.6,
        '"Who is there?" {a} asked, but nobody answered.',
        "A door opened slowly.",
        "The light of the lamp was weak.",
    )
    end = t.dice.random()
    if end < 0.5:
        t.say(
            "It was only {K}, who had come in [to get out of the rain|through the open window|to look for food].",
            "And who sat there with {F.a}? It was {K}!",
            "Two eyes were shining in the dark. It was {K}.",
        )
        t.note("Who made the noise?", "{K}")
        t.say(
            "{A} laughed and gave {K.him} some milk.",
            '"You gave me a fright!" said {A}.',
            "{K} was more afraid than {A}.",
        )
    elif end < 0.8:
        t.say("It was {A.his} {R}, who was hungry too.", "There stood {A.his} {R} with a big piece of cake.")
        t.say(
            '"[Shh|Do not tell anybody]!" said {A.his} {R}, and they ate together.', "They sat down and shared {F.a}."
        )
    else:
        t.say(
            "The wind had opened the window, and {T.a} had fallen down.",
            "It was nothing but {T.a} that moved in the wind.",
        )
        t.note("What made the noise?", "{T.a}")
        t.say("{A} closed the window and went back to bed.", '"[How silly of me|Only that]!" said {A}.')
    t.say(
        "After that {a} slept [until the morning|very well].",
        "In the morning {a} told {B}, and both of them laughed.",
        "Since then {A} has not been afraid of the dark.",
    )


def letter(t: Teller) -> None:
    """A letter without a name asks A to come somewhere."""
    t.title = t.dice.pick(("The Letter", "A Letter Without a Name", "The Secret"))
    scenes.opening(t)
    t.say(
        "The postman brought a letter for {A.him}.",
        "{S.at} {a} saw a letter with {A.his} name on it.",
        "When {a} came home, a letter lay {S.at}.",
    )
    t.slots["time"] = t.dice.pick(("at six", "at noon", "before dark", "after lunch"))
    t.say(
        'It said: "Come {Q.to} {time}. Do not tell anybody."',
        '"Please come {Q.to} {time}," {a} read. "Bring {T.a}."',
        "It had only one line: Come {Q.to} {time}!",
    )
    t.note("Where did the letter tell {A} to go?", "{Q.to}")
    t.say("But there was no name under it.", "{a} did not know who had written it.", "{a} read it three times.")
    if t.dice.chance(0.5):
        t.exchange(
            "A",
            "Did you write this letter?",
            "C",
            t.dice.pick(("no, I did not", "me? No", "I cannot even find my pencil")),
        )
    scenes.travel(t)
    end = t.dice.random()
    if end < 0.5:
        t.say(
            'There stood all {A.his} friends. "Happy birthday!" they called.',
            "Suddenly the lamps were lit, and everybody sang.",
        )
        t.say("{B} gave {A.him} {U.a}.", "{B}, who had written the letter, brought {F.a}.")
        t.note("What did {B} give {A}?", "{U.a}") if "gave" in t.sentences[-1] else t.note(
            "Who wrote the letter?", "{B}"
        )
    elif end < 0.8:
        t.say("{B} was waiting there.", "Behind a tree stood {B}.")
        t.note("Who was waiting for {A}?", "{B}")
        t.say(
            '"I wrote it," said {B}. "I [broke|lost|took] your {U}, and I am sorry."',
            '"I have a secret," said {B}. "I am going away, and I want to give you my {U}."',
        )
        t.say(
            "{A} was quiet for a moment and then took {B}'s hand.",
            '"You are my friend," said {A}, "and that is all that counts."',
        )
    else:
        t.say("{a} waited and waited, but nobody came.", "But nobody was there, only {K}.")
        t.say("Then {a} saw that the letter was for another {A}.", "The letter was [ten|twenty|a hundred] years old!")
        t.say(
            "{a} had to laugh.", '"That is not my letter at all," said {A} to {L}.', "{A} went home and wrote one too."
        )
        return
    scenes.ending(t)


def found_money(t: Teller) -> None:
    """A finds what somebody else has lost, and has to decide."""
    scenes.opening(t)
    t.slots["find"] = t.dice.pick(("a purse", "a gold ring", "a bag full of coins", "a silver coin", "a fine watch"))
    t.say(
        "{S.at} {a} saw something shine. It was {find}.",
        "There {a} found {find}.",
        "{A.his} foot hit something: it was {find}.",
    )
    t.note("What did {A} find?", "{find}")
    t.say(
        '"I could buy {T.a} with it," thought {A}.',
        "With it {a} could buy {T.a}, {U.a} and {F.a}.",
        "Nobody had seen {A.him}.",
    )
    if t.dice.chance(0.5):
        t.exchange(
            "B",
            "What will you do with it?",
            "A",
            t.dice.pick(("I do not know yet", "it is not mine", "I will ask who lost it")),
        )
    if t.dice.chance(0.75):
        t.say(
            "But then {a} thought of the one who had lost it.",
            "But {a} knew that it was not right to keep it.",
            "Somebody must be very sad now, {a} thought.",
        )
        scenes.travel(t)
        t.say(
            "There sat {G}, who was looking for it everywhere.",
            "{A} met {G}, whose eyes were red.",
            "{a} asked everybody, until {G} said that it was {G.his} own.",
        )
        t.note("Who had lost it?", "{G}")
        t.say(
            '"Thank you!" said {G}. "[Not everybody would have done that|It was a gift from my mother]."',
            "{G} was so glad that {G.he} [danced|cried|laughed].",
        )
        t.maybe(0.6, "As thanks {A} got {T.a}.", "{G} gave {A} {F.a}, and it tasted better than anything.")
        scenes.ending(t)
    else:
        t.say("So {a} kept it and told nobody.", "{a} put it into {A.his} pocket and ran home.")
        t.say(
            "But that night {a} could not sleep.",
            "But {a} could not be happy about it, because {G} was sitting there and crying.",
        )
        t.note("Why could {A} not be happy?", "because {A.he} kept what was not {A.his} own")
        t.say("The next morning {a} brought it back to {G}.", 'Then {a} gave it to {G} and said: "I am sorry."')
        scenes.ending(t, good=False)


PLOTS = (lost_thing, treasure, lost_animal, strange_noise, letter, found_money)
