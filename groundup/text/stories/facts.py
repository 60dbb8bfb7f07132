"""What is true in general: about 300 facts, 100 opposites and 100 categories, as tables of (asked, answered).

How they are asked and told is `topics.py`. Sums are made in `kinds.py`.
"""

from groundup.text.stories.dice import with_article


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """'dog woof, cat meow' -> (('dog', 'woof'), ('cat', 'meow')); a colon separates phrases of several words."""
    rows = [row.split(":") if ":" in row else row.split() for row in " ".join(text.split()).split(", ")]
    return tuple((x.strip(), y.strip()) for x, y in rows)


def _both_ways(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for x, y in pairs for pair in ((x, y), (y, x)))


CAPITALS = _pairs(
    """
    France Paris, Italy Rome, Spain Madrid, Germany Berlin, England London, Russia Moscow, China: Beijing,
    Japan Tokyo, Greece Athens, Egypt Cairo, Austria Vienna, Norway Oslo, Poland Warsaw, Portugal Lisbon,
    Ireland Dublin, Hungary Budapest, Finland Helsinki, Denmark Copenhagen, Sweden Stockholm, Turkey Ankara,
    India: New Delhi, Cuba Havana, Peru Lima, Kenya Nairobi, Iran Tehran, Iraq Baghdad, Canada Ottawa,
    Nepal Kathmandu, Thailand Bangkok, Vietnam Hanoi, Scotland Edinburgh, Belgium Brussels, Bulgaria Sofia,
    Romania Bucharest, Iceland Reykjavik, Chile Santiago, Korea Seoul, Cyprus Nicosia, Serbia Belgrade,
    Lebanon Beirut
    """
)

SOUNDS = _pairs(
    """
    dog woof, cat meow, cow moo, sheep baa, duck quack, pig oink, horse neigh, hen cluck, bird tweet, lion roar,
    bee buzz, snake hiss, owl hoot, mouse squeak, frog croak, wolf howl, crow caw
    """
)

YOUNG = _pairs(
    """
    dog puppy, cat kitten, cow calf, sheep lamb, hen chick, horse foal, duck duckling, pig piglet, goat kid,
    bear cub, frog tadpole, swan cygnet, goose gosling, kangaroo joey, deer fawn, owl owlet
    """
)

HOMES = _pairs(
    """
    bee: a hive, bird: a nest, dog: a kennel, horse: a stable, spider: a web, lion: a den, rabbit: a burrow,
    pig: a sty, hen: a coop, king: a castle, fish: the sea, camel: the desert, frog: a pond, monkey: the jungle
    """
)

LEGS = _pairs(
    """
    dog: four legs, cat: four legs, cow: four legs, horse: four legs, bird: two legs, hen: two legs, duck: two legs,
    spider: eight legs, ant: six legs, bee: six legs, fly: six legs, snake: no legs, fish: no legs, worm: no legs,
    man: two legs, mouse: four legs
    """
)

COLOURS_OF = _pairs(
    """
    snow white, grass green, the sky: blue, a banana: yellow, blood red, coal black, a carrot: orange, milk white,
    a lemon: yellow, a tomato: red, the night: black, a leaf: green, the sun: yellow, chocolate brown,
    an elephant: grey, a pig: pink, a frog: green, a strawberry: red, salt white, a crow: black, mud brown,
    the sea: blue, a mouse: grey, a pumpkin: orange
    """
)

MATERIALS = _pairs(
    """
    bread flour, cheese milk, paper wood, wine grapes, a window: glass, a shoe: leather, a scarf: wool,
    a coin: metal, a candle: wax, a wall: stone, juice fruit, a pancake: eggs, a rope: string, glass sand,
    chocolate cocoa, a pot: clay
    """
)

WORKERS = _pairs(
    """
    bakes bread: a baker, grows food: a farmer, teaches children: a teacher, helps sick people: a doctor,
    catches fish: a fisherman, flies a plane: a pilot, sails a ship: a sailor, cuts hair: a barber,
    sews clothes: a tailor, paints pictures: a painter, puts out fires: a firefighter, drives a bus: a driver,
    sings songs: a singer, cooks meals: a cook, builds houses: a builder, writes books: a writer,
    sells meat: a butcher, plants flowers: a gardener, looks after sheep: a shepherd, rules a kingdom: a king
    """
)

TOOLS = _pairs(
    """
    cut paper: scissors, write a letter: a pencil, eat soup: a spoon, open a lock: a key, sweep the floor: a broom,
    hit a nail: a hammer, cut bread: a knife, tell the time: a clock, stay dry in the rain: an umbrella,
    see in the dark: a lamp, dig a hole: a spade, brush your teeth: a toothbrush, dry your hands: a towel,
    cut wood: a saw, sew a button: a needle, catch fish: a net, carry water: a bucket, climb to the roof: a ladder,
    find the way: a map, boil water: a kettle
    """
)

EATS = _pairs(
    """
    rabbit carrots, horse hay, squirrel nuts, monkey bananas, bear honey, panda bamboo, bird seeds, dog bones,
    mouse cheese, frog flies, cow grass, pig potatoes, cat fish, hen corn, goat leaves
    """
)

HOW_MANY = _pairs(
    """
    days in a week: seven, months in a year: twelve, hours in a day: twenty-four, minutes in an hour: sixty,
    fingers on a hand: five, seasons in a year: four, wheels on a bicycle: two, wheels on a car: four,
    sides in a triangle: three, corners in a square: four, days in a year: 365, letters in the alphabet: twenty-six,
    eyes in a face: two, toes on a foot: five, days in a weekend: two, weeks in a year: fifty-two,
    years in a century: one hundred, eggs in a dozen: twelve
    """
)

SENSES = _pairs(
    "see eyes, hear ears, smell nose, taste tongue, touch fingers, walk legs, bite teeth, think head, kick foot"
)

OPPOSITES = _both_ways(
    _pairs(
        """
    hot cold, big small, tall short, fast slow, happy sad, day night, up down, in out, open closed, old young,
    light dark, hard soft, wet dry, full empty, high low, left right, true false, good bad, strong weak, rich poor,
    early late, loud quiet, near far, first last, clean dirty, black white, thick thin, sweet sour, wide narrow,
    deep shallow, begin end, buy sell, come go, give take, push pull, love hate, win lose, laugh cry,
    remember forget, north south, east west, summer winter, brother sister, king queen, boy girl, man woman,
    mother father, yes no, top bottom, front back, always never, more less, before after, friend enemy,
    awake asleep, easy difficult, inside outside
    """
    )
)

# A leading = marks what takes no article: "red is a colour".
GROUPS = {
    "animal": "dog cat horse cow lion bear rabbit",
    "fruit": "apple pear banana plum lemon peach cherry",
    "vegetable": "carrot potato onion cabbage bean",
    "colour": "=red =blue =green =yellow =brown",
    "tool": "hammer saw spade needle broom",
    "toy": "doll kite ball puppet",
    "drink": "=milk =water =tea =juice",
    "flower": "rose tulip daisy lily",
    "bird": "owl crow duck swan eagle",
    "insect": "bee ant fly butterfly",
    "musical instrument": "drum flute violin trumpet piano",
    "piece of clothing": "hat coat scarf shirt dress",
    "piece of furniture": "table chair bed bench cupboard",
    "building": "house castle barn tower church",
    "day of the week": "=Monday =Friday =Sunday =Tuesday",
    "month": "=May =June =March =April",
    "country": "=France =Italy =Spain =China =Egypt",
    "city": "=Paris =Rome =London =Tokyo =Berlin",
    "number": "=two =seven =ten =five",
    "job": "baker farmer teacher doctor",
}
CATEGORIES = tuple(
    (word[1:] if word[0] == "=" else with_article(word), with_article(group))
    for group, words in GROUPS.items()
    for word in words.split()
)
