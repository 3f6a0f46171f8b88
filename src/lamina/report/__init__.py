"""One page about a run, for people: what it is, how good, why, how sturdy, at what cost, and where not to use it."""
