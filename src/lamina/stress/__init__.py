"""Does a model hold up: corruptions, attacks, calibration, unknown inputs, promises kept, and the groups where it is worst."""
