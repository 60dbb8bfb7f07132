"""Scenes that many plots share: how a story opens, how people travel, ask and eat, and how it ends."""

from groundup.text.stories.dice import capital
from groundup.text.stories.kinds import SUMS, is_trained_sum
from groundup.text.stories.teller import Teller
from groundup.text.stories.topics import TOPICS
from groundup.text.stories.world import DAYS


def opening(t: Teller) -> None:
    """Who, when and where. Ends with A at place P."""
    t.slots["day"] = t.dice.pick(DAYS)
    if t.sentences:
        t.say(
            "[The next day|A week later|On the next {day}|Not long after that|In the next winter|One evening] {A} "
            "was {P.at}.",
            "[The next day|A week later|On the next {day}|Not long after that|Another time] {A} went {P.to}.",
            "But that was not all that happened to {A} {P.at}.",
        )
        return
    draw = t.dice.random()
    if draw < 0.3:
        t.say(
            "Once upon a time there was a [little|young|small|clever|kind|shy|brave] {A.child} [called|named] {A}.",
            "Once there lived a [little|young|clever|quiet] {A.child} whose name was {A}.",
            "There was once a {A.child} [called|named] {A} who lived near {P.the}.",
            "{A} was a [little|young|cheerful|curious|quiet|brave] {A.child} who [loved|liked] [stories|animals|"
            "games|the rain|long walks].",
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
            "[Early one morning|Late one evening|One afternoon|One day|Last {day}|In the summer|One winter day] "
            "{A} [went|walked|came|ran] {P.to}.",
            "The [sun was shining|wind was blowing|snow was deep|birds were singing] when {A} came {P.to}.",
            "When the [rain stopped|sun came up|school day was over|work was done], {A} went {P.to}.",
            "[Because it was so warm|Because there was no school|Since it was {day}], {A} went {P.to}.",
        )
    elif draw < 0.8:
        t.say(
            "{A} and {A.his} {R} [lived|stayed] in [a small|an old|a little|a white] house near {P.the}.",
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
            '"[I am bored|There is nothing to do]," said {A}.'
            if t.dice.chance(0.6)
            else '"Where are you going?" asked {A.his} {R} when {A} opened the door.',
            '"[Come back before dark|Do not be late|Take your coat with you]!" [called|said] {A.his} {R} to {A}.',
        )
        t.say(
            "So {a} [went|walked|ran] {P.to}.",
            "Then {a} [took {A.his} bag and went|put on {A.his} shoes and walked|opened the gate and ran] {P.to}.",
        )
    if t.dice.chance(0.15):
        t.note("Where did {A} go?", "to {P.the}")
    pause(t, 0.4)


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
        "The [leaves|flowers|stones] were [still wet|white with snow|bright in the sun].",
        "It was so [quiet|dark|cold] that {A} could hear {A.his} own [steps|breath|heart].",
        "Although it was [cold|late|windy], the [birds|children] were [singing|still outside].",
    )


def texture(t: Teller) -> None:
    """What somebody sees, hears or thinks by the way."""
    t.say(
        "{a} thought of {A.his} {R}, who [was working|was at home|had told {A.him} about it|knew everything].",
        "If it [had been warmer|had not been so late|had been up to {A.him}], {a} would have stayed longer.",
        "There were so many [birds|people|flowers|stones] that {a} could not count them.",
        "{a} stopped to look at {L}, but {L} [ran away|did not move|looked back].",
        "While {a} was walking, {a} [sang a song|counted {A.his} steps|thought of nothing|ate {F.a}].",
        "{A.his} [shoes were wet|hands were cold|bag was heavy], but that did not matter.",
        "{a} had been there [once|many times|only in winter] before.",
        "Not far away {M} was [working|resting|talking to {L}|eating {F.a}].",
        "{M}, who was passing by, [smiled|said hello|did not see {A.him}].",
        "{a} did not know yet what the day would bring.",
        "It was the kind of day when everything seems [easy|possible|slow|new].",
        "Nobody [else was there|said a word|knew about it] except {L}.",
        "{a} was not tired at all, although it was [late|a long way|hot].",
        "As soon as the [rain stopped|bell rang|clouds were gone], {a} felt better.",
        "What {a} did not see was {L}, who was following {A.him}.",
        "{L} was there too and [slept|looked on|wanted something to eat].",
        "Before {a} went on, {a} [drank some water|tied {A.his} shoes|closed the gate].",
        "In {A.his} pocket {a} had [a button|a stone|two coins|a piece of string] and nothing else.",
        "{a} liked the smell of [rain|bread|flowers|the sea] more than anything else.",
        "It is not easy to [wait|be alone|keep quiet|be the smallest], as {A} knew.",
    )


REMARKS = (
    ("Do you like {P.the}?", ("yes, very much", "only when the sun shines", "not at night", "I like {Q.the} better")),
    ("What will you do tomorrow?", ("I will go {Q.to}", "nothing at all", "I will help my {R}", "the same as today")),
    ("What have you got there?", ("only {U.a}", "{U.a}, as you see", "it is a secret")),
    ("Are you cold?", ("a little", "no, I have my coat", "no, but I am hungry")),
    ("Have you seen {L}?", ("yes, {Q.at}", "not since yesterday", "no, and I am glad of it")),
    ("Who told you that?", ("my {R}", "nobody, I just know it", "{M}")),
    ("Is it far {Q.to}?", ("not very", "only if you are alone", "ask {M}", "we will be there soon")),
    ("When will it be dark?", ("soon", "in an hour", "when the sun is down")),
    ("Where did you sleep?", ("{S.at}", "at home, of course", "{Q.at}")),
    ("Why are you laughing?", ("because of {L}", "because I am happy", "because you have {F.a} in your hair")),
)


def chat(t: Teller) -> None:
    """A and B exchange a few words, if they have met."""
    if "B" not in t.met:
        texture(t)
        return
    question, answers = t.dice.pick(REMARKS)
    first, second = t.dice.pick(("AB", "BA"))
    t.exchange(first, question.format_map(t.slots), second, t.dice.pick(answers).format_map(t.slots))


def travel(t: Teller, together: bool = False) -> None:
    """A, or A and B together, go to the second place, Q."""
    t.paragraph()
    if together:
        t.say(
            "{A} and {B} [went|walked|ran|hurried] {Q.to}.",
            "Together they [went|walked|ran|hurried] {Q.to}.",
            "It was a long way {Q.to}, but {B} knew a short one.",
            "While they [went|walked] {Q.to}, {A} and {B} [talked about everything|did not say a word|sang].",
            "The [road|path] to {Q.the} was [long|dark|full of stones|wet], but they were two, and so it was not hard.",
        )
    else:
        t.say(
            "{a} [went|walked|ran|hurried] {Q.to}.",
            "Then {a} [went|walked|ran|hurried] {Q.to}.",
            "So {a} [left|said goodbye] and [went|walked] {Q.to}.",
            "It was a long way {Q.to}, but {A} did not [stop|rest].",
            "When {a} came {Q.to}, it was [quiet|already late|getting dark|full of people].",
            "The [road|path] to {Q.the} was [long|dark|full of stones|wet], and {A} [walked slowly|was careful|"
            "sang a song].",
            "{a}, who knew every [road|path|corner], was soon {Q.at}.",
            "Without [another word|losing any time|looking back] {A} [went|walked|ran] {Q.to}.",
        )
    pause(t, 0.35)


def hungry(t: Teller) -> None:
    t.say(
        "{a} was hungry and ate {F.a}.",
        "{a} sat down and ate {F.a}.",
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
        "[In the evening|When it got dark|At last|After that] {A} went home[| and slept well| and ate {F.a}| "
        "without a word].",
        "{A} went home and told {A.his} {R} [everything|the whole story|what had happened].",
        "{a} walked home [slowly|under the stars|and sang|in the last light].",
        "That night {A} [slept well|could not sleep for joy|dreamed of {P.the}].",
        "It was late when {A} came home, and {A.his} {R} was [waiting|already asleep|at the door].",
    )


def ending(t: Teller, good: bool = True) -> None:
    pause(t, 0.2)
    if not good:
        t.say(
            "{A} never forgot that day.",
            "It was a hard lesson, but a good one.",
            "Since that day {A} has been more careful.",
            '"Next time I will think first," said {A}.',
            "{a} was glad when the day was over.",
        )
    elif t.dice.chance(0.4):
        home(t)
    elif "B" in t.met and t.dice.chance(0.6):
        t.say(
            "From that day on {A} and {B} were [friends|good friends|the best of friends].",
            "And {A} was [happy|glad|proud], and so was {B}.",
            '"That was fun!" said {B}. "Let us do it again!"',
            "{A} and {B} laughed about it [for a long time|all the way home|for days].",
            "Whenever {A} and {B} meet, they talk about [it|that day].",
        )
    else:
        t.say(
            "It was the best day of the [week|year|summer].",
            "{A} smiled and thought of it [for a long time|all week|all the way home].",
            "{A} never forgot [it|that day].",
            "Everybody was happy in the end.",
            "And that is [how it was|the end of the story|what happened to {A}].",
            "Nobody could have been happier than {A}.",
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
            if wording[-1] != "=" and is_trained_sum(a, b, wording):
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
            f"{by} had read that {{fact}}.",
            f'"Did you know that {{fact}}?" asked {by}.',
            f'"{{Fact}}," said {by}.',
            f"{by} said that {{fact}}.",
            f'"I know something," said {by}. "{{Fact}}."',
            f"Everybody knows that {{fact}}, and {by} knew it too.",
        )


def fact_remark(t: Teller) -> None:
    """A fact comes up between A and whoever is there."""
    small_fact(t, *(("B", "A") if "B" in t.met else ("G", "A")))


def pause(t: Teller, probability: float) -> None:
    """Something by the way that does not change the plot."""
    while t.dice.chance(probability):
        t.dice.pick((weather, texture, texture, texture, hungry, trait, chat, chat, fact_remark))(t)
        probability /= 2


def recap(t: Teller) -> None:
    """Questions about the story just told: asked at home, or after it, as in a reading book."""
    if not t.notes:
        return
    hero = t.person("A").name
    told_at_home = [note for note in t.notes if note[1] != hero]
    if not told_at_home or t.dice.chance(0.55):
        questions_after(t)
        return
    t.paragraph()
    t.say(
        "Later {A.his} {R} wanted to hear [all about it|everything|the whole story].",
        "At home {A.his} {R} [asked many questions|wanted to know everything].",
        "In the evening {A} told {A.his} {R} about the day.",
    )
    t.slots["she"] = t.person("R").he
    for question, answer in t.dice.some(told_at_home, min(len(told_at_home), t.dice.between(1, 3))):
        t.slots |= {"question": question, "answer": capital(answer)}
        t.say(
            '"{question}" asked {A.his} {R}. "{answer}," said {A}.',
            '"{question}" "{answer}."',
            '"{question}" {she} asked. "{answer}," [said|answered] {A}.',
        )


def questions_after(t: Teller) -> None:
    """Below the text: one to three questions with their short answers."""
    t.sentences.append("\n")
    for question, answer in t.dice.some(t.notes, min(len(t.notes), t.dice.between(1, 3))):
        t.sentences.append(f"{question} {capital(answer)}.")
