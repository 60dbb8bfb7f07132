"""Good files with a few changes, by the hundred thousand: hypothesis finds smaller examples, and is slower."""


def changed_at_random(generator, good, start, end, pieces):
    """Overwrite, put in or take out up to four stretches between two positions, some times cutting off the rest."""
    content = bytearray(good)
    for _ in range(generator.randint(1, 4)):
        position = generator.randrange(start, end)
        new = generator.choice(pieces) if generator.random() < 0.6 else generator.randbytes(generator.randint(0, 9))
        replaced = len(new) if generator.random() < 0.6 else generator.randint(0, 16)
        content[position : position + replaced] = new
    return bytes(content[: generator.randrange(start, len(content) + 1)] if generator.random() < 0.1 else content)
