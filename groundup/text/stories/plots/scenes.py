"""Scenes that many plots share: how a story opens, how people travel, ask and eat, and how it ends."""

from groundup.text.stories.dice import capital, kept_back
from groundup.text.stories.facts import TOPICS
from groundup.text.stories.kinds import SUMS, is_known_sum
from groundup.text.stories.teller import Teller
from groundup.text.stories.world import DAYS


def opening(t: Teller) -> None:
    """Who, when and where. Ends with A at place P."""
    t.slots["day"] = t.dice.pick(DAYS)
    draw = t.dice.random()
    if draw < 0.3:
        t.say(
            "Once upon a time there was a [little|young|small|clever|kind|shy|brave] {A.child} [called|named] {A}.",
            "Once there lived a [little|young|clever|quiet] {A.child} whose name was {A}.",
            "There was once a {A.child} [called|named] {A} who lived near {P.the}.",
            "{A} was a [little|young|cheerful|curious|quiet|brave] {A.child} who [loved|liked] [stories|animals|games|the rain|long walks].",
        )
        t.say(
            "One [sunny|warm|cold|windy|rainy] [morning|day|afternoon], {a} was {P.at}.",
            "One day {a} [went|walked|ran] {P.to}.",
            "On {day} {a} went {P.to}[| all alone| with a full bag].",
            "Every [morning|day] {a} went {P.to}, and so it was on that {day}.",
        )
    elif draw < 0.6:
        t.say(
            "It was a [sunny|warm|cold|windy|rainy|grey|quiet] [morning|day|afternoon|evening], and {A} was {P.at}.",
            "On {day} [morning|afternoon|evening] {A} was {P.at}.",
            "[Early one morning|Late one evening|One afternoon|One day|Last {day}|In the summer|One winter day] {A} [went|walked|came|ran] {P.to}.",
            "The [sun was shining|wind was blowing|snow was deep|birds were singing] when {A} came {P.to}.",
            "When the [rain stopped|sun came up|school day was over|work was done], {A} went {P.to}.",
            "[Because it was so warm|Because there was no school|Since it was {day}], {A} went {P.to}.",
        )
    elif draw < 0.8:
        t.say(
            "{A} and {A.his} {R} [lived|stayed] in a [small|old|little|white] house near {P.the}.",
            "{A} [lived|was staying] with {A.his} {R}, not far from {P.the}.",
            "{A} was visiting {A.his} {R}, who lived near {P.the}.",
        )
        t.say(
            "On {day} {a} [walked|went] {P.to}.",
            "One [morning|afternoon|evening] {a} was {P.at}.",
            "After [breakfast|lunch] {a} ran {P.to}.",
        )
    else:
        t.say(
            '"[I am bored|There is nothing to do|What shall I do today]," said {A}.' if t.dice.chance(0.6) else '"Where are you going?" asked {A.his} {R} when {A} opened the door.',
            '"[Come back before dark|Do not be late|Take your coat with you]!" [called|said] {A.his} {R} to {A}.',
        )
        t.say(
            "So {a} [went|walked|ran] {P.to}.",
            "Then {a} [took {A.his} bag and went|put on {A.his} shoes and walked|opened the gate and ran] {P.to}.",
        )
    if t.dice.chance(0.15):
        t.note("Where did {A} go?", "to {P.the}")


def trait(t: Teller) -> None:
    t.say(
        "{a} had [brown|black|red|short|long] hair and [a loud laugh|a warm smile|quick feet|many questions].",
        "{a} liked nothing better than {F.a}.",
        "{a} could [run very fast|sing very well|swim like a fish|climb any tree|tell long stories].",
        "{a} was [always|often|never] [hungry|in a hurry|the first to wake up|on time].",
        "Everybody [liked|knew] {A.him}, [because {a} was kind|for {a} always helped|and {a} knew everybody].",
    )


def weather(t: Teller) -> None:
    t.say(
        "[Then|Suddenly|After a while] it [began|started] to [rain|snow].",
        "The wind [blew|was blowing] [hard|softly] [through the trees|over the hill|from the sea].",
        "The sun [came out from behind the clouds|was high in the sky|went down behind the hill].",
        "[A bird|An owl|A crow] was [singing|sitting] in [a tree|the old tree].",
        "It [was|got] [cold|warm|dark|quiet], and the [sky|water|road] was [grey|dark|black|white].",
        "Far away a [dog|bell|cow|train] could be heard.",
    )


def travel(t: Teller, slot: str = "A") -> None:
    """Somebody goes to the second place, Q."""
    t.paragraph()
    low = "{" + slot.lower() + "}"
    up = "{" + slot + "}"
    t.say(
        f"{low} [went|walked|ran|hurried] {{Q.to}}.",
        f"Then {low} [went|walked|ran|hurried] {{Q.to}}.",
        f"So {low} [left|said goodbye] and [went|walked] {{Q.to}}.",
        f"It was a long way {{Q.to}}, but {up} did not [stop|rest].",
        f"When {low} came {{Q.to}}, it was [quiet|already late|getting dark|full of people].",
        f"The [road|path] to {{Q.the}} was [long|dark|full of stones|wet], and {up} [walked slowly|was careful|sang a song].",
    )


def hungry(t: Teller) -> None:
    t.say(
        "{a} was hungry and ate {F.a}.",
        "They sat down and shared {F.a}.",
        "{A.his} {R} had put {F.a} into the bag, and {A} ate it.",
        "By now {A} was hungry, so {a} ate {F.a}.",
        "Before that, {A} had eaten nothing but {F.a}.",
    )
    t.note("What did {A} eat?", "{F.a}")


def thinking(t: Teller) -> None:
    t.say(
        "{a} [thought for a while|thought about it for a long time|sat down to think].",
        "{a} did not know what to [do|say].",
        '"What [shall|can] I do?" [thought|asked] {A}.',
        "What could {a} do?",
        "{a} had never been so [unsure|confused] before.",
        "{a} looked up and down, left and right.",
    )


def meeting(t: Teller) -> None:
    """A meets B."""
    t.say(
        "There {a} met {B}.",
        "{a} met {B}, who [was on the way home|was sitting on a bench|had come to look around|was eating {F.a}].",
        "[On the way|At the gate|At the corner|Near the old tree] {a} met {A.his} [friend|good friend|neighbour] {B}.",
        "[Just then|At that moment|A little later] {B} came along.",
        "{B}, who lived [near|next to] {P.the}, [came out|saw {A.him} and came over].",
        '"Hello, {A}!" called {B}.',
    )
    if t.dice.chance(0.4):
        t.note("Whom did {A} meet?", "{B}")


def home(t: Teller) -> None:
    t.say(
        "[In the evening|When it got dark|At last|After that] {A} went home[| happy| tired but happy| and slept well].",
        "{A} went home and told {A.his} {R} [everything|the whole story|what had happened].",
        "They walked home [together|hand in hand|side by side|under the stars].",
        "That night {A} [slept well|could not sleep for joy|dreamed of {P.the}].",
        "It was late when {A} came home, and {A.his} {R} was [waiting|already asleep|at the door].",
    )


def ending(t: Teller, good: bool = True) -> None:
    if t.dice.chance(0.5):
        home(t)
    if not good:
        t.say(
            "{A} never forgot that day.",
            "It was a hard lesson, but a good one.",
            "Since that day {A} [is|has been] more careful.",
            '"Next time I will think first," said {A}.',
        )
        return
    t.say(
        "From that day on they were [friends|good friends|the best of friends].",
        "[It was|That was] the best day of the [week|year|summer].",
        "And {A} was [happy|glad|proud], and so was {B}.",
        "They all laughed.",
        "[Everybody|Everyone] was happy in the end.",
        "{A} smiled and thought of it [for a long time|all week|all the way home].",
        "{A} never forgot [it|that day].",
        '"That was fun!" said {B}. "Let us do it again!"',
        "And if they have not stopped, they are [laughing|singing|talking] still.",
    )


def moral(t: Teller, *lines: str) -> None:
    t.say(*lines)


def fact_clause(t: Teller) -> str:
    """A fact as a clause: 'Paris is the capital of France'."""
    topic = t.dice.pick(TOPICS)
    x, y = t.dice.pick(topic.facts)
    return topic.statement(x, y, t.dice.pick(topic.told))


def fact_question(t: Teller) -> tuple[str, str]:
    """A question of fact that is trained, never one that is held out, and its short answer."""
    while True:
        if t.dice.chance(0.12):
            a, b, wording = t.dice.between(0, 10), t.dice.between(0, 10), t.dice.pick(SUMS)
            if wording[-1] != "=" and is_known_sum(a, b) and not kept_back("sum", a, b, wording):
                return wording.format(a=a, b=b), str(a + b)
        else:
            topic = t.dice.pick(TOPICS)
            x, y = t.dice.pick(topic.facts)
            wording = t.dice.pick(topic.trained)
            if topic.is_trained(x, wording):
                return topic.question(x, wording), y


def small_fact(t: Teller, asker: str = "B", answerer: str = "A") -> None:
    """Somebody says or asks what is true in general."""
    if t.dice.chance(0.5):
        question, answer = fact_question(t)
        t.exchange(asker, question, answerer, answer)
    else:
        t.slots["fact"] = fact_clause(t)
        t.slots["Fact"] = capital(t.slots["fact"])
        by = "{" + asker + "}"
        t.say(
            f'"Did you know that {{fact}}?" asked {by}.',
            f'"{{Fact}}," said {by}.',
            f"{by} said that {{fact}}.",
            f'"I know something," said {by}. "{{Fact}}."',
            f"Everybody knows that {{fact}}, and {by} knew it too.",
        )


def interlude(t: Teller) -> None:
    """Something on the way that does not change the plot."""
    t.dice.pick((weather, hungry, trait, weather, small_fact))(t)


def recap(t: Teller) -> None:
    """Questions about the story just told: inside it, to a relative, or after it, as in a reading book."""
    notes = t.notes
    if not notes:
        return
    chosen = t.dice.some(notes, min(len(notes), t.dice.between(1, 3)))
    if t.dice.chance(0.45):
        t.paragraph()
        t.slots["N"] = t.slots["R"]
        t.say(
            "Later {A.his} {R} wanted to hear [all about it|everything|the whole story].",
            "At home {A.his} {R} [asked many questions|wanted to know everything].",
            "In the evening {A} told {A.his} {R} about the day.",
        )
        t.slots["her"] = t.person("R").he
        for question, answer in chosen:
            t.slots["question"], t.slots["answer"] = question, capital(answer)
            t.say(
                '"{question}" asked {A.his} {R}. "{answer}," said {A}.',
                '"{question}" "{answer}."',
                '"{question}" {her} asked. "{answer}," [said|answered] {A}.',
            )
    else:
        t.sentences.append("\n")
        for question, answer in chosen:
            t.sentences.append(f"{question} {capital(answer)}.")
