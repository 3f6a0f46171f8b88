"""Every check, in the order in which the contract's steps follow each other."""

from __future__ import annotations

from lamina.check import answers, declared, encoded, exported, losses, measured, modelled, training

CHECKS = (
    *declared.CHECKS,
    *encoded.CHECKS,
    *modelled.CHECKS,
    *losses.CHECKS,
    *training.CHECKS,
    *answers.CHECKS,
    *measured.CHECKS,
    *exported.CHECKS,
    declared.unchanged,  # after all that calls the task: has anything changed it?
    declared.state_travels,
)
