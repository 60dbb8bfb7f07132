"""Animals that talk, and what one can learn from them."""

from groundup.text.stories.plots import scenes
from groundup.text.stories.teller import Teller
from groundup.text.stories.world import BEASTS

PROUD_OF = ("voice", "fast legs", "long tail", "sharp eyes", "strong back", "white teeth", "soft coat", "clever head")


def _beasts(t: Teller) -> None:
    """Let three animals play the people."""
    a, b, c = t.dice.some(BEASTS, 3)
    t.slots |= {"A": a, "B": b, "C": c}


def _where(t: Teller) -> None:
    t.say(
        "{A} and {B} lived near {P.the}.",
        "One [hot|cold|rainy|fine] day {A} met {B} {P.at}.",
        "There was once {A1} who lived {P.at}, and not far from there lived {B1}.".replace(
            "{A1}", _one(t, "A")
        ).replace("{B1}", _one(t, "B")),
        "In the days when animals could talk, {A} and {B} were neighbours.",
        "Long ago, {A} came {P.to} and saw {B}.",
    )
    if t.dice.chance(0.4):
        t.dice.pick((scenes.weather, scenes.texture, scenes.chat))(t)


def _one(t: Teller, slot: str) -> str:
    noun = t.person(slot).name.removeprefix("the ")
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def flattery(t: Teller) -> None:
    """Someone has food; someone else gets it by praise."""
    _beasts(t)
    _where(t)
    t.slots["of"] = t.dice.pick(PROUD_OF)
    t.say(
        "{B} had found {F.a} and was just about to eat it.",
        "In {B.his} mouth {B} held {F.a}.",
        "{B} sat {S.at} with {F.a}.",
    )
    t.note("What did {B} have?", "{F.a}")
    t.say(
        "{A} was hungry and thought: how can I get it?",
        "{A} smelled it from far away.",
        "{A} wanted the {F}, but {B} was too quick for {A.him}.",
    )
    t.say(
        '"[Dear|Good] friend," said {A}, "I have heard so much about your {of}!"',
        '"Everybody talks about your {of}," said {A}. "Will you show me?"',
    )
    t.say(
        "{B} was so proud that {B.he} opened {B.his} mouth, and down fell the {F}.",
        "{B} put down the {F} to show it, and at once {A} took it.",
    )
    t.note("Who got the {F}?", "{A}")
    t.maybe(
        0.5,
        "{C} had seen it and laughed.",
        '"Give it back!" cried {B}, but it was too late.',
        "It all happened so fast that {B} did not understand it at first.",
    )
    t.say("{A} ate it all.", "And {A} was gone.", '"Thank you," said {A}.')
    scenes.moral(
        t,
        "Do not believe everyone who praises you.",
        '"Next time I will keep my mouth closed," said {B}.',
        "{B} was hungry that night, but a little wiser.",
    )


def slow_race(t: Teller) -> None:
    """The slow one wins because the fast one is too sure."""
    _beasts(t)
    _where(t)
    t.say(
        "{B} was always laughing at {A}, because {A} was so slow.",
        '"Nobody is faster than I am," {B} told everybody.',
        "{B} was fast, and {b} knew it too well.",
    )
    t.say(
        '"Let us run {Q.to}," said {A}. "Then we will see."',
        'One day {A} had enough and said: "I will race you {Q.to}."',
    )
    t.note("Where did they run?", "{Q.to}")
    t.say("{C} gave the sign, and they ran.", 'All the animals came to watch, and {C} called: "Go!"')
    t.say("Soon {B} was far ahead.", "{B} ran like the wind and was soon out of sight.")
    t.say(
        "{b} thought: I have time. So {b} lay down and slept.",
        "Then {B} saw {F.a} and stopped to eat.",
        "On the way {B} stopped to talk to everybody.",
    )
    t.note("Why did {B} stop?", "because {B.he} was too sure")
    t.say("{A} went on, step by step.", "But {A} did not stop, not even once.")
    t.say(
        "When {B} came to the end, {A} was already there.",
        "{B} ran as fast as {B.he} could, but it was too late: {A} had won.",
    )
    t.note("Who won?", "{A}")
    scenes.moral(
        t,
        "Slow and steady wins the race.",
        "{B} never laughed at {A} again.",
        '"[Well|Yes]," said {A}, "who is slow now?"',
        "It is not enough to be fast.",
    )


def small_help(t: Teller) -> None:
    """The strong one spares the weak one and is saved by it."""
    _beasts(t)
    _where(t)
    t.say("{B} was big and strong, and {A} was small.", "Everybody was afraid of {B}, and {A} most of all.")
    t.say("One day {B} caught {A}.", "By mistake {A} stepped on {B}'s foot while {B} was sleeping.")
    t.say('"Please let me go," said {A}. "One day I will help you."', "{A} begged for {A.his} life.")
    t.say('{B} laughed: "You, help me?" But {b} let {A.him} go.', "{B} was not hungry and let {A} go.")
    t.paragraph()
    t.say(
        "Some days later {B} was caught in a net.",
        "In the winter {B} fell into a deep hole.",
        "Then {G} came and tied {B} to a tree.",
    )
    t.note("Who was in trouble?", "{B}")
    t.say("{A} heard {B} cry and came at once.", "Nobody dared to go near, only {A}.")
    t.say(
        "All night {A} bit through the rope with {A.his} small teeth.",
        "{A} called all {A.his} friends, and together they set {B} free.",
    )
    t.note("Who helped {B}?", "{A}")
    scenes.moral(
        t,
        "Nobody is too small to help.",
        "Since then they have been friends, the big one and the small one.",
        '"You kept your word," said {B}.',
    )


def greed(t: Teller) -> None:
    """Two quarrel about food, and a third one eats it; or one wants too much and loses all."""
    _beasts(t)
    _where(t)
    if t.dice.chance(0.5):
        t.say("Together they found {F.a}.", "{S.at} they saw {F.a}.")
        t.say('"It is mine," said {A}. "No, it is mine," said {B}.', "Each of them wanted it all.")
        t.note("Why did they quarrel?", "because each wanted the {F}")
        t.say("They asked {C} to [cut it in two|say who was right].", 'Then {C} came by and said: "I will help you."')
        t.say("{C} cut it, but one piece was bigger, so {c} took a bite of it.", '"First I must try it," said {C}.')
        t.say("{c} went on like that until nothing was left.", "Before they could say a word, {C} had eaten it.")
        t.note("Who ate the {F}?", "{C}")
        scenes.moral(
            t,
            "When two quarrel, a third is glad.",
            "{A} and {B} looked at each other. They had nothing at all.",
            "Next time they shared.",
        )
    else:
        t.say(
            "{A} had {F.a} in {A.his} mouth and came to the water.",
            "With {F.a} in {A.his} mouth {A} went over a bridge.",
        )
        t.say(
            "In the water {a} saw another animal with an even bigger {F}.",
            "Down there {a} saw somebody who had {F.a} too.",
        )
        t.note("Where did {A} see the other animal?", "in the water")
        t.say("{a} wanted that one too and opened {A.his} mouth.", '"Give it to me!" cried {A}.')
        t.say("Splash! The {F} fell into the water and was gone.", "And so {a} lost {A.his} own.")
        scenes.moral(
            t,
            "Who wants everything gets nothing.",
            "{B}, who had seen it, laughed all day.",
            "It had been {A.his} own picture in the water.",
        )


def winter(t: Teller) -> None:
    """One works in summer, the other sings; then winter comes."""
    _beasts(t)
    _where(t)
    t.say("All summer {A} carried [nuts|seeds|corn|leaves] home.", "From morning till evening {A} was working.")
    t.say(
        "{B} lay in the sun and sang.",
        '{B} laughed and said: "Why do you work so hard? It is summer!"',
        "But {B} did nothing but dance and play.",
    )
    t.say('"Winter will come," said {A}.', '"You should think of the winter," {A} said, but {B} did not listen.')
    t.paragraph()
    t.say("Then the snow came.", "Winter came early that year.", "The leaves fell, and soon everything was white.")
    t.say("{B} was cold and had nothing to eat.", "There was nothing left {P.at}, and {B} was hungry.")
    t.note("Why was {B} hungry?", "because {B.he} had not worked in summer")
    t.say("So {b} went to {A} and asked for help.", '"Please give me something to eat," said {B} at {A}\'s door.')
    end = t.dice.random()
    if end < 0.4:
        t.say('"You sang all summer," said {A}. "Now you can dance."', "{A} closed the door.")
        scenes.moral(t, "Those who do not work in summer are hungry in winter.", "It was a long winter for {B}.")
    else:
        t.say(
            '"Come in," said {A}. "[Sing for me|Tell me a story], and you may eat."', "{A} gave {B} half of everything."
        )
        scenes.moral(
            t,
            "And the next summer they worked together, and {B} sang while they worked.",
            "With songs the winter was not so long.",
            "Since then {B} thinks of tomorrow.",
        )


def trick(t: Teller) -> None:
    """The one who plays tricks is tricked."""
    _beasts(t)
    _where(t)
    t.say("{B} liked to play tricks on the others.", "Nobody trusted {B}, because {b} had tricked them all.")
    t.say(
        '"Come to dinner," {b} said to {A}, but there was nothing on the table.',
        "{B} served soup on a flat stone, so that {A} could not eat it.",
        "{B} told {A} that there was gold {Q.at}, but there were only bees.",
    )
    t.note("Who played a trick on {A}?", "{B}")
    t.say("{A} said nothing and thanked {B.him}.", "{A} was angry but did not show it.")
    t.paragraph()
    t.say("The next day {A} invited {B}.", 'A week later {A} said: "Now you must visit me."')
    t.say(
        "{A} had cooked a fine soup, but it was in a tall bottle.",
        "The food hung high in a tree, where {B} could not reach it.",
        '"[First wash your feet|First close your eyes and count to a hundred]," said {A}, and while {B} did so, '
        "{C} ate everything.",
    )
    t.say("{B} had to go home hungry.", "Then {B} understood.")
    scenes.moral(
        t,
        "As you do to others, they will do to you.",
        '"[Now we are even|I have learned my lesson]," said {B}, and they both laughed.',
        "After that {B} played no more tricks, or only small ones.",
    )


def liar(t: Teller) -> None:
    """Someone calls for help for fun until nobody comes."""
    _beasts(t)
    _where(t)
    danger = t.dice.pick(("The wolf is coming", "Fire", "The water is coming", "The hunter is here"))
    t.slots["danger"] = danger
    t.say('{A} was bored and cried: "{danger}!"', '"{danger}!" called {A}, though it was not true.')
    t.say("{B} and {C} came running to help.", "Everybody came at once.")
    t.say("{A} laughed at them.", "But there was nothing, and {A} rolled on the ground with laughter.")
    t.say("The next day {a} did it again, and again they came.", "The second time only {C} came.")
    t.paragraph()
    t.say("But on the third day it was true.", "Then it really happened.")
    t.say(
        '"{danger}!" cried {A} as loud as {a} could, but nobody believed {A.him}.',
        "{A} called and called, but nobody came.",
    )
    t.note("Why did nobody come?", "because nobody believed {A}")
    t.say(
        "{A} was lucky and could run away.",
        "{a} lost everything {a} had.",
        "Only {B} looked out of the window and saw that it was true, just in time.",
    )
    scenes.moral(
        t,
        "Nobody believes a liar, even when the liar tells the truth.",
        "Since then {A} has never lied.",
        "{A} had to say sorry to every one of them.",
    )


PLOTS = (flattery, slow_race, small_help, greed, winter, trick, liar)
