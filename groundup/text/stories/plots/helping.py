"""Somebody needs help; somebody does wrong and makes it good again."""

from groundup.text.stories.dice import capital
from groundup.text.stories.plots import scenes
from groundup.text.stories.teller import Teller


def stranger(t: Teller) -> None:
    """A helps a grown-up, and later the grown-up helps A."""
    scenes.opening(t)
    t.say(
        "There {a} saw {G}, who had dropped a heavy basket.",
        "{G} was there too and could not carry {G.his} bags.",
        "{G} stood in the rain [without a coat|with a broken cart|and did not know the way].",
    )
    t.exchange(
        "A",
        t.dice.pick(("Can I help you?", "Do you need help?", "Is it heavy?")),
        "G",
        t.dice.pick(("yes, please", "that is very kind of you", "oh yes, thank you")),
    )
    t.say(
        "So {A} [picked up|carried] everything and went with {G} {Q.to}.",
        "It took {A.him} [an hour|all afternoon], but {a} did not mind.",
        "{A} helped {G} without asking for anything.",
    )
    t.note("Who helped {G}?", "{A}")
    t.maybe(0.5, '"I will not forget that," said {G}.', '"One day I will help you," said {G}.')
    scenes.pause(t, 0.3)
    t.paragraph()
    t.say(
        "A week later {A} [lost the way in the dark|fell into the water|missed the train|was locked in {P.the}].",
        "Not long after that {A} was in trouble: {A.his} {T} was [gone|broken|stuck in a high tree].",
        "Then winter came, and {A} fell ill.",
    )
    t.say(
        "Who came by at that moment? It was {G}!",
        "But {G} heard of it and came at once.",
        "Nobody was there to help, until {G} came along.",
    )
    t.say(
        '"Now it is my turn," said {G}.',
        "{G} remembered {A} and did not wait a minute.",
        "{G} knew what to do, and soon everything was well.",
    )
    scenes.moral(t, "One good turn deserves another.", "Those who help are helped.", "So kindness came back to {A}.")


def ill_friend(t: Teller) -> None:
    """B is in bed; A brings something and cheers B up."""
    scenes.opening(t)
    t.say(
        "{A} was waiting for {B}, but {B} did not come.",
        "{B} was not [at school|there] that day.",
        "{a} wanted to play with {B}, but {B} was ill.",
    )
    t.exchange(
        "A",
        "Where is {B}?".format(B=t.person("B")),
        "C",
        t.dice.pick(("at home in bed", "ill in bed", "at home, with a cold")),
    )
    t.note("Why did {B} not come?", "because {B.he} was ill")
    t.say(
        "So {A} packed {F.a} and {T.a} and went to see {B}.",
        "{A} [made|cooked] some soup and took it to {B}.",
        "{a} thought: what would I like if I were ill? Then {a} took {T.a} with {A.him}.",
    )
    t.say(
        "{B} was pale, but {B.he} smiled when {A} came in.",
        "{B} lay in bed and looked out of the window.",
        '"Oh, how [nice|kind] of you!" said {B}.',
    )
    if t.dice.chance(0.6):
        t.say("{A} told {B.him} a story.", "To pass the time they asked each other questions.")
        for _ in range(t.dice.between(1, 2)):
            scenes.small_fact(t, "A", "B")
    t.say(
        "{B} laughed so much that {B.he} forgot to be ill.",
        "After {n} days {B} was well again.".replace("{n}", t.dice.pick(("two", "three", "four"))),
        "The next day {B} felt much better.",
    )
    if t.dice.chance(0.35):
        t.say(
            "But now {A} had a cold! So {B} came and brought {F.a}.",
            "Then {A} began to sneeze, and it was {B} who made the soup.",
        )
    scenes.ending(t)


def broken_thing(t: Teller) -> None:
    """A breaks what belongs to B; the truth comes out in one way or another."""
    t.title = t.dice.pick(("The Broken {}", "Who Broke the {}?")).format(capital(t.slots["T"].name))
    scenes.opening(t)
    t.say(
        "{B} had {T.a} and [was very proud of it|let {A} play with it].",
        "{S.at} lay {T.a}. It was {B}'s.",
        '"Please be careful with my {T}," said {B} and went away.',
    )
    t.note("Whose was the {T}?", "it was {B}'s")
    t.say(
        "{A} only wanted to look at it, but it fell and broke.",
        "While {A} was playing, the {T} fell on a stone and broke.",
        "{A} ran too fast, and crash, the {T} was broken.",
        "Because {A} did not look, {a} stepped on the {T}.",
    )
    t.note("Who broke the {T}?", "{A}")
    lie = t.dice.chance(0.5)
    if lie:
        t.say("{A} was afraid and hid it {S.at}.", "{a} put the pieces {S.at} and said nothing.")
        t.note("Where did {A} hide the {T}?", "{S.at}")
        t.exchange(
            "B",
            f"Where is my {t.slots['T'].name}?",
            "A",
            t.dice.pick(("I do not know", "I have not seen it", "maybe {K} took it".format(K=t.person("K")))),
        )
        t.say(
            "{B} looked [everywhere|for it all day] and was close to tears.",
            "So {B} was angry with {C}, who had done nothing.",
            "But {A} could not [eat|sleep|look {B} in the eyes].",
        )
        t.say(
            'At last {A} said: "It was me. I broke it, and I am sorry."',
            "In the end {a} told {B} the truth.",
            "When {B} began to cry, {A} could not bear it and told {B.him} everything.",
        )
    else:
        t.say(
            '{a} went to {B} at once and said: "I broke your {T}. I am sorry."',
            "{a} could have run away, but {a} waited for {B} and told {B.him} the truth.",
        )
    t.say(
        "{B} was angry, but only for a [moment|short time|day].",
        '"Thank you for telling me," said {B}.',
        '"It is not the end of the world," said {B}. "[A friend is worth more|We can mend it]."',
        "{B} did not speak to {A} for two days.",
    )
    t.say(
        "Together they mended it with [string|wood and a nail|wax and paper].",
        "{A} worked for {G} until {a} could buy a new one.",
        "{A} gave {B} {A.his} own {U} for it.",
    )
    scenes.moral(
        t,
        "The truth is hard to say, but a lie is harder to carry.",
        "After that {A} was more careful.",
        "And the new {T} was even better than the old one.",
        "Since then they tell each other everything.",
    )


def stuck(t: Teller) -> None:
    """Something is stuck; one after another comes to help, and the smallest makes the difference."""
    scenes.opening(t)
    thing = t.dice.pick(("a cart", "a big stone", "a boat", "a giant carrot", "a fallen tree", "the gate"))
    t.slots["it"] = thing.replace("a ", "the ", 1)
    t.slots["athing"] = thing
    t.say(
        "There was {athing} that would not move.",
        "{athing} was stuck in the mud.",
        "{A} wanted to move {it}, but it was too heavy.",
    )
    t.say("{A} pulled and pulled, but {it} did not move.", "{a} pushed as hard as {a} could. Nothing happened.")
    helpers = ["B", "C", "G"][: t.dice.between(1, 3)]
    for slot in helpers:
        up = "{" + slot + "}"
        he = t.person(slot).he
        t.say(
            f'"[Let me help you|I will help]," said {up}, but {{it}} did not move.',
            f"Then {up} came and pulled too, but it was no use.",
            f"{{A}} called {up}. They pulled together, but {{it}} stayed where it was.",
            f"{up} thought that {he} was [strong enough|the strongest of all]. But no!",
        )
    t.say(
        "At last {K} came along.",
        "Only {K} was left.",
        '"May I try?" asked {K}.',
    )
    t.say(
        "Everybody laughed, because {K} was so small.",
        '"You?" said {A}. "[What can you do|You are too small]!"',
        "Nobody thought that {K} could help.",
    )
    t.say(
        "But all together they pulled once more, and {it} moved!",
        "But {K} [dug away the mud|took out the little stone in front of it|showed them how to pull together], "
        "and {it} came free.",
    )
    t.note("Who helped in the end?", "{K}")
    scenes.moral(
        t,
        "Sometimes a little help is all that is missing.",
        "Many hands make light work.",
        '"[Thank you|Well done]!" they all said to {K}.',
        "They sat down and shared {F.a} with {K}.",
    )


def rescue(t: Teller) -> None:
    """Somebody is in danger and has to be pulled out."""
    scenes.opening(t)
    scenes.weather(t)
    t.say(
        "Suddenly {a} heard a cry for help.",
        '"Help! Help!" somebody [cried|called].',
        "Then {a} saw that something was wrong.",
    )
    where = t.dice.pick(
        (
            "fallen into the water",
            "climbed too high and could not come down",
            "fallen into a deep hole",
            "lost the way in the snow",
        )
    )
    t.slots["trouble"] = where
    t.slots["X"] = t.slots[t.dice.pick("BK")]
    t.say("{X} had {trouble}.", "It was {X}, who had {trouble}.", "There was {X}, who had {trouble}!")
    t.note("Who needed help?", "{X}")
    t.say(
        "{A} did not [think long|wait]. {A.He} took a rope and [threw it|made a ring of it].",
        "{a} looked around and saw {T.a}. That would do!",
        "There was no time to lose, so {a} ran to {G}, who had a ladder.",
        '"Do not be afraid!" called {A}. "I am coming!"',
    )
    t.say(
        "It was [dangerous|hard|cold], but {A} did not give up.",
        "Once the rope broke, and {A} had to begin again.",
        "{a} was afraid too, but {a} did not show it.",
    )
    t.say(
        "At last {X} was safe.",
        "With all {A.his} strength {A} pulled until {X} was safe.",
        "A little later {X} sat by the fire with a warm blanket.",
    )
    t.note("Who helped {X}?", "{A}")
    t.say(
        '"You are very brave," said {G}.',
        '"[Without you I would still be there|You saved me]," said {X}.',
        "Everybody talked about {A} for weeks.",
        '{A} only smiled. "[You would have done the same|Everybody would do that]," {A.he} said.',
    )


def newcomer(t: Teller) -> None:
    """C is new and alone; A and B find out what C can do."""
    t.title = t.dice.pick(("The New Friend", "", "Alone", "The First Day"))
    t.say(
        "On {day} a new {C.child} came to [school|the village]: {C}.".replace(
            "{day}", t.dice.pick(("Monday", "Tuesday", "Friday"))
        ),
        "{C} was new {P.at} and knew nobody.",
        "{C} had come from far away and did not know a single person.",
    )
    t.say(
        "While the others were playing, {c} sat alone.",
        "{c} stood by the wall with {C.his} {T} and said nothing.",
        "Nobody talked to {C.him}, and {c} was lonely.",
    )
    t.note("How did {C} feel?", "lonely")
    t.say("{A} saw {C} and went over.", "Only {A} saw how sad {C} was.", '"Shall we ask {C}?" {A} said to {B}.')
    t.exchange(
        "A",
        t.dice.pick(("Hello, who are you?", "What is your name?", "What are you called?")),
        "C",
        t.dice.pick(("I am {C}", "my name is {C}")).format(C=t.person("C")),
    )
    if t.dice.chance(0.5):
        t.say("{B} did not want to play with {C.him} at first.", '"We are already enough," said {B}.')
    t.say(
        "It turned out that {C} could [make kites|tell wonderful stories|play the flute|run faster than all the "
        "others|draw animals].",
        "{C} showed them {T.a}, which {C.his} {R} had made.",
        "{C} knew a game that nobody else knew.",
    )
    t.maybe(
        0.6,
        "Now everybody wanted to play with {C}.",
        '"Where did you learn that?" asked {B}.',
        "Even {B} had to smile.",
    )
    if t.dice.chance(0.3):
        scenes.small_fact(t, "C", "B")
    scenes.pause(t, 0.4)
    t.say(
        "From then on the three of them were always together.",
        "The next day {C} was not alone any more.",
        '"I am glad that you came here," said {A}.',
        "And when another new child came, it was {C} who said hello first.",
    )


def sharing(t: Teller) -> None:
    """There is only one of something, and two want it."""
    scenes.opening(t)
    t.say(
        "{A} and {B} found {T.a} {S.at}.",
        "There was only one {T}, but both {A} and {B} wanted it.",
        "{A.His} {R} gave {A} and {B} {T.a} to play with.",
    )
    t.say('"It is mine!" said {A}.', "{A} held it tight.", '"I saw it first!" cried {A}.')
    t.say(
        '"No, it is mine!" said {B}.',
        "{B} pulled at it from the other side.",
        '"You always have everything!" said {B}.',
    )
    t.note("Why were they angry?", "because both wanted the {T}")
    end = t.dice.random()
    if end < 0.4:
        t.say("They pulled so hard that it broke.", "Then it fell into the water and was gone.")
        t.say("Now nobody had {T.a}.", "They looked at each other and were ashamed.")
        t.say('"Let us make a new one," said {B}.', "{A} began to laugh, and so did {B}.")
    elif end < 0.7:
        t.say("{G} heard the noise and came over.", "Then {G}, who had seen it all, sat down with them.")
        t.say(
            '"[One of you has it in the morning, the other in the afternoon|Play with it together]," said {G}.',
            '"I will take it," said {G}, "until you can agree."',
        )
        t.say("And so they did.", "It did not take long until they agreed.")
    else:
        t.say("Then {A} saw how sad {B} was.", "{A} thought about it. Was {T.a} worth a friend?")
        t.say('"You can have it," said {A}.', "{A} gave the {T} to {B}.")
        t.note("Who got the {T}?", "{B}")
        t.say('{B} smiled. "Let us play together," {B.he} said.', "And then {B} gave {A} {F.a}.")
    scenes.ending(t)


PLOTS = (stranger, ill_friend, broken_thing, stuck, rescue, newcomer, sharing)
