"""Turn text and conversations into token data, look at what is in it, and ask what a run has seen of it."""

from groundup.commands.data import clean, inspect, prepare, seen

VERBS = {
    "prepare": prepare.prepare,
    "inspect": inspect.inspect,
    "batch": seen.batch,
    "where": seen.where,
    "clean": clean.clean,
}
