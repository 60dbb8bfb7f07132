"""Somebody tries, fails, tries again; or makes, wins, grows and wishes."""

from groundup.text.stories.plots import scenes
from groundup.text.stories.teller import Teller

SKILLS = (
    ("swim", "went under", "swam across the pond"),
    ("ride a bicycle", "fell off", "rode down the hill"),
    ("whistle", "made no sound", "whistled a whole song"),
    ("skate", "fell on the ice", "danced on the ice"),
    ("bake bread", "burned the bread", "made the best bread in the village"),
    ("play the flute", "made a terrible noise", "played a whole song"),
    ("climb the big tree", "slid down again", "sat in the top of the tree"),
    ("fly a kite", "lost the wind", "saw the kite high in the sky"),
    ("sew a shirt", "cut the cloth too short", "wore the new shirt"),
    ("read", "mixed up the letters", "read a whole page aloud"),
)


def learning(t: Teller) -> None:
    """A wants to be able to do something; it takes several tries and some help."""
    skill, failed, done = t.dice.pick(SKILLS)
    t.slots |= {"skill": skill, "failed": failed, "done": done}
    t.title = t.dice.pick(("", "Try Again", f"{t.person('A')} Learns Something"))
    scenes.opening(t)
    t.say(
        "More than anything {a} wanted to learn to {skill}.",
        "All the others could {skill}, only {A} could not.",
        "{A} saw how {B} could {skill}, and {A.he} wanted to do it too.",
    )
    t.note("What did {A} want to learn?", "to {skill}")
    t.say("{a} tried it, but {A.he} {failed}.", "The first time {A} {failed}.", "It looked easy, but {A} {failed}.")
    n = t.dice.between(0, 2)
    if n:
        t.say(
            "{a} tried again, but it was no better.",
            "The second time {A} {failed} too.",
            "Time after time {A} {failed}.",
        )
    if n > 1:
        t.say('"You will never learn it," said {C}.', "{C} laughed at {A.him}.", '"I give up," said {A} and sat down.')
    t.feel("A", "bad")
    if t.dice.chance(0.7):
        t.say(
            'Then {B} came and said: "Let me show you."',
            '{A.His} {R} said: "[Nobody can do it at once|Go slowly]. Try once more."',
            "{G} saw {A.him} and gave {A.him} some good advice.",
        )
    t.say(
        "{A} [practised|tried] every day [before school|after school|until it was dark].",
        "Day after day {a} tried, a little longer each time.",
        "For {n} weeks {A} did nothing else.".replace("{n}", t.dice.pick(("two", "three", "four"))),
    )
    t.say(
        "And one [morning|day|evening] {A} {done}!",
        "Then, when nobody was looking, {A} {done}.",
        "At last the day came when {A} {done}.",
    )
    scenes.moral(
        t,
        '"I can do it!" {a} [called|cried].',
        "Even {C} clapped.",
        "{A} was prouder than a king.",
        "Now {A} teaches {C}, who cannot {skill} yet.",
        "Whoever wants to {skill} must be ready to fail first.",
    )


def contest(t: Teller) -> None:
    """A and B both want to win. Who does, and is it worth it?"""
    game = t.dice.pick(("race", "song contest", "boat race", "baking contest", "drawing contest", "kite contest"))
    t.slots["game"] = game
    t.title = t.dice.pick(("", f"The Great {game.title()}"))
    t.say(
        "Every [summer|spring|year] there was a {game} {P.at}.",
        "On {day} there was to be a {game} {P.at}.".replace("{day}", t.dice.pick(("Sunday", "Saturday"))),
        '"There is a {game} {P.at}," {A} told {A.his} {R}. "I want to win it!"',
    )
    t.say(
        "{A} wanted to win, and so did {B}.",
        "The best were {A} and {B}.",
        "{A} had won it last year, but now {B} was there too.",
    )
    t.say("The prize was {T.a}.", "Whoever won would get {T.a}.", "{G} had given {T.a} as the prize.")
    t.note("What was the prize?", "{T.a}")
    t.maybe(
        0.5,
        "{a} got up early every day to practise.",
        "{A} was sure to win and did not practise at all.",
        "{A} was so excited that {A.he} could not eat.",
    )
    scenes.pause(t, 0.5)
    t.paragraph()
    t.say("The great day came.", "Then it began.", '"Ready?" called {G}. "Go!"', "Half the village had come to watch.")
    end = t.dice.random()
    if end < 0.3:
        t.say("At first {B} was ahead.", "{B} made a bad start.", "For a long time nobody could say who was better.")
        t.say("But in the end {A} won.", "Then {A} did {A.his} very best and won.")
        t.note("Who won?", "{A}")
        t.say(
            '{B} was the first to say: "Well done!"',
            "{A} gave the {T} to {B}, because {B} had none.",
            "{A} held up the {T}, and everybody clapped.",
        )
    elif end < 0.6:
        t.say("But {B} was better and won.", "{A} did well, but {B} did even better.")
        t.note("Who won?", "{B}")
        t.say(
            "{A} wanted to cry, but then {A.he} went to {B} and took {B.his} hand.",
            '"Next year I will win," said {A} and had to smile.',
            "{B} let {A} hold the {T} for a while.",
        )
    elif end < 0.85:
        t.say("Then {C} fell and cried.", "Halfway there {A} saw that {C} was hurt.")
        t.say("{A} stopped to help, so {B} won.", "{A} could have won, but {A.he} stayed with {C}.")
        t.note("Who stopped to help?", "{A}")
        t.say(
            "But in the end {G} gave the prize to {A}, because a good heart is worth more.",
            '"You lost the {game}, but you won a friend," said {G}.',
        )
    else:
        t.say(
            "While they were quarrelling, {K} came and [ate the prize|ran away with the prize].",
            "But {C}, whom nobody had thought of, won.",
        )
        t.say("So nobody got the {T}.", "{A} and {B} looked at each other and laughed.") if "prize" in t.sentences[
            -1
        ] else t.say("Who would have thought it?", "{C} could not believe it.")
    t.maybe(
        0.4, "In the evening there was music, and all of them danced.", "It is not the prize that counts, but the game."
    )


def building(t: Teller) -> None:
    """Friends build something; a part is missing; they help themselves."""
    work = t.dice.pick(
        (
            "a tree house",
            "a boat",
            "a big kite",
            "a bird house",
            "a hut",
            "a cart",
            "a snowman",
            "a bridge over the stream",
        )
    )
    t.slots["work"] = work
    t.slots["thework"] = "the " + work.split(" ", 1)[1]
    scenes.opening(t)
    t.say(
        "{A} had a plan: {a} wanted to build {work}.",
        '"Let us build {work}," said {A} to {B}.',
        "{a} had always wanted {work}, so {A.he} asked {B} to help.",
    )
    t.note("What did they build?", "{work}")
    t.say(
        "{A} brought [wood|paper|string], and {B} brought {T.a}.",
        "First they made a drawing.",
        "They looked for everything they needed {P.at} and {Q.at}.",
    )
    t.say(
        "{A} held and {B} tied.",
        "They worked from morning till evening.",
        "It was not easy, because {a} wanted it big and {B} wanted it small.",
    )
    if t.dice.chance(0.5):
        t.say(
            "Then {A} saw that there was no more rope.",
            "But one part was missing.",
            "They needed one more thing: {U.a}.",
        )
        t.exchange(
            "B",
            t.dice.pick(("What can we do now?", "Where can we get it?")),
            "A",
            t.dice.pick(("let us ask {G}", "we will look {Q.at}")).format_map(t.slots),
        )
        t.say(
            "{G} gave them what they needed.",
            "They used {A.his} scarf for it.",
            "{S.at} they found something that was just right.",
        )
    if t.dice.chance(0.4):
        t.say(
            "In the night the wind blew, and in the morning {thework} was in pieces.",
            "Then it fell down with a loud crash.",
        )
        t.say(
            '{B} wanted to give up, but {A} said: "Now we know how to do it better."',
            "They began again from the beginning.",
        )
    t.say(
        "When {thework} was ready, everybody came to see it.",
        "At last it was ready.",
        "After {n} days it was done.".replace("{n}", t.dice.pick(("two", "three", "five", "seven"))),
    )
    t.say(
        "They painted it {colour}.".replace(
            "{colour}", colour := t.dice.pick(("red", "blue", "green", "yellow", "white", "brown"))
        )
    )
    t.note("What colour did they paint it?", colour)
    scenes.ending(t)


def baking(t: Teller) -> None:
    """Something is to be cooked, one thing after another is missing or goes wrong."""
    dish = t.dice.pick(("a cake", "a pie", "pancakes", "a soup", "bread", "cookies"))
    t.slots["dish"] = dish
    t.slots["thedish"] = "the " + dish.removeprefix("a ")
    t.say(
        "It was {R}'s birthday, and {A} wanted to make {dish}.".replace("{R}", "{A.his} {R}"),
        "{A} and {B} were hungry, so they decided to make {dish}.",
        'One rainy day {A} stood in the kitchen. "I will make {dish}," {A.he} said.',
    )
    t.note("What did {A} make?", "{dish}")
    missing = t.dice.pick(("flour", "butter", "sugar", "salt", "milk"))
    t.slots["missing"] = missing
    t.say(
        "But there was no {missing} in the house.",
        "{a} had everything but {missing}.",
        "Where was the {missing}? There was none left.",
    )
    t.note("What was missing?", missing)
    t.say(
        "So {a} went to {G} and asked for some.",
        "{a} ran to the shop, but the shop was closed.",
        '"I have {missing} at home," said {B} and ran to get it.',
    )
    t.maybe(
        0.6,
        "In return {A} swept the floor.",
        "{G} wanted only a small piece of it.",
        "{B} came back with {missing} and {F.a}.",
    )
    scenes.pause(t, 0.5)
    end = t.dice.random()
    if end < 0.35:
        t.say("{A} mixed everything and waited.", "Soon it smelled wonderful.")
        t.say("It tasted better than ever before.", "Everybody wanted a second piece.")
    elif end < 0.7:
        t.say(
            "But {a} took salt for sugar!",
            "While {A} was reading, it burned.",
            "Then {K} jumped on the table and ate half of it.",
        )
        t.say(
            "Nobody could eat it.", "What a mess it was!", "{A} looked at it and did not know whether to laugh or cry."
        )
        t.say(
            "They laughed and ate bread with butter.",
            "So they began again, and the second time everything went well.",
            '"The best cooks began like that," said {A.his} {R}.',
        )
    else:
        t.say(
            "It was far too much, so {A} invited everybody who lived near {P.the}.",
            "There was so much of it that they carried some to {G}.",
        )
        t.say("{B}, {C} and {G} came, and each brought something.", "They sat together until late at night.")
    t.maybe(
        0.5,
        "{A} wrote down how {A.he} had made {thedish}.",
        "Nothing was left but one small piece, and that was for {B}.",
    )


def dark_cellar(t: Teller) -> None:
    """A has to go where A is afraid to go."""
    place = t.dice.pick(("cellar", "attic", "cave", "forest", "old tower"))
    t.slots["dark"] = place
    t.slots["Dark"] = "the " + place
    t.say(
        "{A} was not afraid of [dogs|spiders|storms], but {A.he} was afraid of {Dark}.",
        "There was one place that {A} did not like: {Dark}.",
        "Nobody in the village went into {Dark} alone, least of all {A}.",
    )
    t.note("What was {A} afraid of?", "{Dark}")
    t.say(
        "It was dark there and smelled of old things.",
        "They said that something lived in it.",
        "Even by day it was dark in there.",
    )
    t.say(
        "But one day {A.his} {R} needed {T.a} from there.",
        "Then {K} ran in there and did not come back.",
        '"You do not dare to go in," said {B}.',
    )
    t.maybe(
        0.5,
        "{A.his} {R} would have gone too, but somebody had to wait outside.",
        "It was only a few steps, but they were the longest steps in the world.",
        "What would {B} say if {A} ran away now?",
    )
    t.say(
        "{A} took a lamp and a deep breath.",
        "{A} counted to ten and went in.",
        "Slowly {a} put one foot before the other.",
    )
    t.say(
        "Something touched {A.his} arm. It was only an old coat.",
        "There was a noise, but it was {A.his} own steps.",
        "The lamp went out, and for a moment {A} could see nothing.",
        "Two green eyes looked at {A.him}. They belonged to {K}.",
    )
    t.maybe(
        0.5, "{a} began to sing, and the singing helped.", '"I am not afraid," {a} said aloud, and it was almost true.'
    )
    t.say(
        "Then {a} was through and out again.",
        "When {A} came out, {A.his} knees were weak, but {A.he} was smiling.",
        "In the end there was nothing to be afraid of.",
    )
    scenes.moral(
        t,
        '"Was it bad?" asked {B}. "Only before I went in," said {A}.',
        "Since that day {A} goes in whenever {a} likes.",
        "To be brave is to be afraid and to go on.",
        "The next time {A} took {B} along and showed {B.him} everything.",
    )


def wishes(t: Teller) -> None:
    """Three wishes, which turn out otherwise than thought."""
    t.title = t.dice.pick(("Three Wishes", "The Wish", ""))
    scenes.opening(t)
    giver = t.dice.pick(("an old woman", "a golden fish", "a little man", "a talking owl"))
    t.slots["giver"] = giver
    t.slots["thegiver"] = "the " + giver.split(" ", 1)[1]
    t.say("There {a} met {giver}.", "{a} helped {giver} out of a net.", "{A} shared {F.a} with {giver}.")
    t.say(
        '"You have three wishes," said {thegiver}.',
        '"Because you are kind, three of your wishes will come true," said {thegiver}.',
    )
    t.note("How many wishes did {A} have?", "three")
    t.say(
        '"I wish for {T.a}," said {A} at once, and there it was.',
        "First {A} wished for {T.a}. It fell from the sky, right before {A.his} feet.",
    )
    t.note("What did {A} wish for first?", "{T.a}")
    t.say(
        "Then {a} wished to be as big as a tree.",
        "Then {a} wished that it would always be summer.",
        "Then {a} wished for a hundred cakes.",
        "The second wish was to fly like a bird.",
    )
    t.say(
        "But soon {a} was tired of it.",
        "It was fun for an hour, and then it was not.",
        "Nobody could play with {A.him} any more.",
        "But that was not as nice as {a} had thought.",
    )
    t.say(
        "So {a} wished that everything were as before.",
        'For the last wish {A} thought a long time. "Give it to {B}," {A.he} said.',
        '"I wish for a friend," said {A} at last, and at that moment {B} came along.',
    )
    scenes.moral(
        t,
        "Since then {A} thinks before {A.he} speaks.",
        "{Thegiver} smiled and was gone.".replace("{Thegiver}", scenes.capital(t.slots["thegiver"])),
        "The {T} still stands in {A.his} room.",
        "The best things cannot be wished for.",
    )


def garden(t: Teller) -> None:
    """A seed grows over days or weeks, and somebody has to be patient."""
    seed = t.dice.pick(("an apple seed", "a bean", "a flower seed", "a pumpkin seed", "a nut"))
    t.slots["seed"] = seed
    t.say("{G} gave {A} {seed}.", "{A} found {seed} in {A.his} pocket.", "In spring {A} got {seed} from {A.his} {R}.")
    t.note("What did {A} plant?", "{seed}")
    t.say(
        "{a} planted it {S.at}.".replace(
            "{S.at}", t.dice.pick(("in the garden", "behind the house", "by the wall", "in a pot"))
        ),
        "{a} dug a hole, put it in and covered it with earth.",
    )
    t.say("Every morning {a} gave it water.", "Then {A} sat down to wait.", '"Now grow!" said {A}.')
    t.say(
        "On Monday there was nothing, and on Tuesday there was nothing.",
        "A week went by, but nothing happened.",
        '{B} laughed: "It will never grow!"',
    )
    t.say(
        '{a} wanted to dig it out again, but {A.his} {R} said: "Wait."',
        "{A} was sad and almost forgot it.",
        "But {a} did not give up.",
    )
    scenes.pause(t, 0.5)
    t.say(
        "Then, after a night of rain, there was something green.",
        "One morning a small green leaf looked out of the earth.",
    )
    t.maybe(
        0.5,
        "{K} wanted to eat it, so {A} built a little fence.",
        "When it was too dry, {A} carried water from {P.the}.",
        "In the first cold night {A} put {A.his} scarf around it.",
    )
    t.say("It grew as high as {A}, and then higher.", "In summer it was taller than the house.", "It grew and grew.")
    scenes.moral(
        t,
        "And each autumn there is enough for everybody.",
        "Now {B} wants to plant something too.",
        "Good things take time.",
        "{A} gave the first fruit to {G}.",
    )


def promise(t: Teller) -> None:
    """A gives a word and forgets it, or keeps it although it is hard."""
    t.slots["day"] = t.dice.pick(scenes.DAYS)
    t.say(
        '"I will come {P.to} on {day}," {A} promised {B}.',
        "{A} had promised {B} to be {P.at} on {day}.",
        '"Will you help me {P.at} on {day}?" asked {B}. "I promise," said {A}.',
    )
    t.note("When did {A} want to come?", "on {day}")
    if t.dice.chance(0.5):
        t.say(
            "But when {day} came, {A} was {Q.at} with {C} and forgot it.",
            "But {C} had {T.a}, and {A} played all day and thought of nothing else.",
        )
        t.note("Who was waiting?", "{B}")
        t.say(
            "{B} waited for {n} hours.".replace("{n}", t.dice.pick(("two", "three"))),
            "{B} stood in the rain and waited.",
        )
        t.say(
            "In the evening {a} remembered and ran, but {B} was gone.", '"Oh no!" cried {A}. "[I forgot|It is {day}]!"'
        )
        t.say(
            'The next day {A} went to {B} with {F.a} and said: "I am sorry."',
            "{a} wrote a letter and put it under {B}'s door.",
        )
        t.say(
            '"A promise is a promise," said {B}, but then {B.he} smiled.', "It took a while, but {B} forgave {A.him}."
        )
        t.say("Since then {A} writes everything down.", "{A} has never forgotten a promise again.")
    else:
        t.say(
            "On {day} it was snowing, and the road was closed.",
            "On {day} {C} invited {A} to a party.",
            "When {day} came, {A} was very tired.",
        )
        t.say("{A} would have liked to stay, but {A.he} had promised.", "What should {a} do? A promise is a promise.")
        t.say("So {a} put on {A.his} boots and went {P.to}.", "So {a} said no and went {P.to}.")
        t.say("{B} was standing there, and {B.his} face was bright.", '"I knew that you would come," said {B}.')
        scenes.ending(t)


PLOTS = (learning, contest, building, baking, dark_cellar, wishes, garden, promise)
