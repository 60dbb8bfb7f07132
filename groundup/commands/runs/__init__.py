"""List the runs of a folder, show one, compare several, say what differed, or do one again."""

from groundup.commands.runs import compare, diff, list_, reproduce, show

VERBS = {
    "list": list_.list_runs,
    "show": show.show,
    "compare": compare.compare,
    "diff": diff.diff,
    "reproduce": reproduce.reproduce,
}
