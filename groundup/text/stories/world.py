"""The small world that stories and questions are about: who and what there is in it, as tables.

Words are common and few, so that a tokenizer of 2048 tokens holds nearly all of them whole. Nothing is told here.
"""

from dataclasses import dataclass

from groundup.text.stories.dice import capital, with_article


class Person:
    """Someone in a story. In a template `{A}` is the name and `{A.he}`, `{A.him}`, `{A.his}` are the pronouns."""

    __slots__ = ("He", "His", "Name", "child", "he", "him", "himself", "his", "name", "pronouns")

    def __init__(self, name: str, pronouns: tuple[str, str, str, str, str]):
        self.name = name
        self.Name = capital(name)
        self.pronouns = pronouns
        self.he, self.him, self.his, self.himself, self.child = pronouns
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


HE = ("he", "him", "his", "himself", "boy")
SHE = ("she", "her", "her", "herself", "girl")

BOYS = tuple(
    Person(name, HE)
    for name in (
        "Tom Ben Sam Max Leo Jack Tim Dan Bob Joe Adam Luke Paul Peter Oscar "
        "Finn Hugo Noah Omar Ravi Ivan Felix Karl Ned Otto Theo Eric Hans Jim Fred"
    ).split()
)
GIRLS = tuple(
    Person(name, SHE)
    for name in (
        "Mia Anna Lily Sue Rosa Emma Ella Kate Jane Lucy Nora Ruby Sara Zoe Amy "
        "Eva Ida Jill Lena Maya Nina Olga Pia Tara Vera Wendy Clara Alice Mina Molly"
    ).split()
)
PEOPLE = BOYS + GIRLS

ANIMALS = tuple(
    "dog cat rabbit fox bear mouse duck hen frog owl sheep goat horse pig cow crow squirrel hedgehog donkey wolf".split()
)

# Where somebody can go.
PLACES = _places(
    "in the barn, in the kitchen, in the garden, at the lake, at the school, on the hill, under the bridge, in the park, "
    "in the forest, at the market, by the river, in the attic, in the cellar, on the beach, in the library, at the station, "
    "in the field, in the shop, in the tower, on the farm, in the village, in the cave, by the well, in the yard, "
    "in the tent, at the mill, on the island, in the meadow, in the bakery, in the museum, by the pond, in the castle"
)
OUTDOORS = tuple(place for place in PLACES if place.name in (
    "garden lake hill park forest river beach field meadow pond yard island".split()
))  # fmt: skip

# Where a thing can lie.
SPOTS = _places(
    "in the box, in the basket, under the bed, on the table, on the shelf, in the drawer, behind the door, under the chair, "
    "in the bag, in the cupboard, under the tree, behind the house, on the wall, in the cart, under the stairs, on the bench, "
    "behind the fence, in the bucket, on the roof, under the rug"
)

THINGS = tuple(
    "kite drum ball book lamp key hat cup doll boat bell rope coin ring map letter shoe blanket bottle brush umbrella clock "
    "flute whistle spoon scarf coat flag mirror pencil picture button candle shell stone".split()
)
FOODS = tuple("apple pear plum cake pie egg carrot banana cookie sandwich orange peach potato tomato pancake".split())
COLOURS = tuple("red blue green yellow brown black white grey orange purple pink".split())

# Grown-ups whom the stories call by what they do.
ROLES = tuple(
    Person(f"the {role}", pronouns)
    for roles, pronouns in (
        ("baker farmer sailor doctor painter builder driver gardener fisherman postman shopkeeper", HE),
        ("teacher singer cook tailor nurse miller librarian queen shepherd pilot", SHE),
    )
    for role in roles.split()
)
KIN = (
    *(Person(kin, SHE) for kin in "mother grandmother aunt sister".split()),
    *(Person(kin, HE) for kin in "father grandfather uncle brother".split()),
)
BEASTS = tuple(Person(f"the {animal}", HE if i % 2 else SHE) for i, animal in enumerate(ANIMALS))

FEELINGS = tuple("happy sad angry afraid tired proud lonely hungry worried surprised excited cold bored thirsty".split())

DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
MONTHS = tuple("January February March April May June July August September October November December".split())
NUMBERS = tuple(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty".split()
)
