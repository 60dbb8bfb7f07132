"""Train a tokenizer, turn text into ids and ids into text, and look at what a tokenizer does."""

from groundup.commands.tokenizer import compare, encode, extend, inspect, play, train

VERBS = {
    "train": train.train,
    "extend": extend.extend,
    "encode": encode.encode,
    "decode": encode.decode,
    "compare": compare.compare,
    "inspect": inspect.inspect,
    "play": play.play,
}
