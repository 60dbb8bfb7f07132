"""The small world that stories and questions are about: who and what there is in it, as tables.

Words are common and few, so that a tokenizer of 2048 tokens holds nearly all of them whole. Nothing is told here.
"""

from dataclasses import dataclass

from groundup.text.stories.dice import capital, with_article


class Person:
    """Someone in a story. In a template `{A}` is the name and `{A.he}`, `{A.him}`, `{A.his}` are the pronouns."""

    __slots__ = ("He", "His", "Name", "child", "he", "him", "his", "name", "pronouns")

    def __init__(self, name: str, pronouns: tuple[str, str, str, str]):
        self.name = name
        self.Name = capital(name)
        self.pronouns = pronouns
        self.he, self.him, self.his, self.child = pronouns
        self.He = capital(self.he)
        self.His = capital(self.his)

    def __format__(self, spec: str) -> str:
        return self.name


class Thing:
    """Something that can be held: `{T}` is the noun, `{T.a}` 'a red kite', `{T.the}` 'the kite'."""

    __slots__ = ("The", "a", "colour", "name", "the")

    def __init__(self, name: str, colour: str = ""):
        self.name = name
        self.colour = colour
        self.a = with_article(f"{colour} {name}" if colour else name)
        self.the = "the " + name
        self.The = "The " + name

    def __format__(self, spec: str) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere: `{P}` is the noun, `{P.at}` 'in the barn', `{P.to}` 'to the barn', `{P.the}` 'the barn'."""

    name: str
    at: str
    to: str
    the: str

    def __format__(self, spec: str) -> str:
        return self.name


def _places(text: str) -> tuple[Place, ...]:
    """'in the barn, at the lake' -> places."""
    phrases = [phrase.split(" the ") for phrase in text.split(", ")]
    return tuple(Place(noun, f"{where} the {noun}", f"to the {noun}", f"the {noun}") for where, noun in phrases)


def words(text: str) -> tuple[str, ...]:
    """A table of words, written as they are read."""
    return tuple(text.split())


HE = ("he", "him", "his", "boy")
SHE = ("she", "her", "her", "girl")

BOYS = tuple(
    Person(name, HE)
    for name in words(
        "Tom Ben Sam Max Leo Jack Tim Dan Bob Joe Adam Luke Paul Peter Oscar "
        "Finn Hugo Noah Omar Ravi Ivan Felix Karl Ned Otto Theo Eric Hans Jim Fred"
    )
)
GIRLS = tuple(
    Person(name, SHE)
    for name in words(
        "Mia Anna Lily Sue Rosa Emma Ella Kate Jane Lucy Nora Ruby Sara Zoe Amy "
        "Eva Ida Jill Lena Maya Nina Olga Pia Tara Vera Wendy Clara Alice Mina Molly"
    )
)
PEOPLE = BOYS + GIRLS

# Grown-ups whom the stories call by what they do, relatives, and animals that act.
ROLES = (
    *(
        Person("the " + role, HE)
        for role in words("baker farmer sailor doctor painter builder driver gardener postman")
    ),
    *(Person("the " + role, SHE) for role in words("teacher singer cook tailor nurse miller queen shepherd pilot")),
)
KIN = (
    *(Person(kin, SHE) for kin in words("mother grandmother aunt sister")),
    *(Person(kin, HE) for kin in words("father grandfather uncle brother")),
)
ANIMALS = words(
    "dog cat rabbit fox bear mouse duck hen frog owl sheep goat horse pig cow crow squirrel hedgehog donkey wolf"
)
BEASTS = tuple(Person("the " + animal, HE if i % 2 else SHE) for i, animal in enumerate(ANIMALS))

# Where somebody can go.
PLACES = _places(
    "in the barn, in the kitchen, in the garden, at the lake, at the school, on the hill, under the bridge, in "
    "the park, "
    "in the forest, at the market, by the river, in the attic, in the cellar, on the beach, in the library, at "
    "the station, "
    "in the field, in the shop, in the tower, on the farm, in the village, in the cave, by the well, in the yard, "
    "in the tent, at the mill, on the island, in the meadow, in the bakery, in the museum, by the pond, in the castle"
)
# Where a thing can lie.
SPOTS = _places(
    "in the box, in the basket, under the bed, on the table, on the shelf, in the drawer, behind the door, under "
    "the chair, "
    "in the bag, in the cupboard, under the tree, behind the house, on the wall, in the cart, under the stairs, "
    "on the bench, "
    "behind the fence, in the bucket, on the roof, under the rug"
)

THINGS = words(
    "kite drum ball book lamp key hat cup doll boat bell rope coin ring map letter shoe blanket bottle brush umbrella "
    "clock flute whistle spoon scarf coat flag mirror pencil picture button candle shell stone"
)
FOODS = words("apple pear plum cake pie egg carrot banana cookie sandwich orange peach potato tomato pancake")
COLOURS = words("red blue green yellow brown black white grey orange purple pink")

DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words("January February March April May June July August September October November December")
NUMBERS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
