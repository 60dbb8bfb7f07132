"""verify: is this model what it should be, and if not, why?

recording.py     what a model computes, every tensor on the way and every gradient, under our names
names.py         which module of another program's model is which of ours
judges.py        who says what is right: transformers, another folder
golden.py        ... or tensors that were stored
differences.py   how far two recordings are apart, and how far rounding may carry them
checks.py        what a model can be asked without a judge
textbook.py      a decoder written out by the equations, with a switch for each fault
hypotheses.py    a fault made testable, and the search for those that explain a difference
faults_of_*.py   the faults that are known: of code, of configuration, of weights
causes.py        from a difference to its cause
comparison.py    all of it, for two models in memory: `compare`
folders.py       all of it, for what lies on disk: `verify`
"""

from groundup.insight.verify.comparison import compare
from groundup.insight.verify.report import Report

__all__ = ["Report", "compare"]
