"""Atari scores on the scale from random play to a person."""

from __future__ import annotations

import dataclasses

import pytest

from lamina.data.atari_scores import SCORES, human_normalized
from lamina.data.play import means
from lamina.data.world import Show, World
from lamina.tasks.dqn import DQN
from lamina.tasks.ppo import PPO


def test_published_scores_come_out_as_published() -> None:
    """Random play and a person of two games, and what lies between them."""
    assert SCORES["pong"] == (-20.7, 14.6) and SCORES["breakout"] == (1.7, 30.5)
    for game, (random, human) in SCORES.items():
        assert human > random, game
        assert human_normalized(game, random) == 0 and human_normalized(game, human) == pytest.approx(1)
    assert human_normalized("breakout", 401.2) == pytest.approx(13.8715, abs=1e-4)  # DQN of Mnih et al. 2015
    assert human_normalized("pong", 18.9) == pytest.approx(1.1218, abs=1e-4)
    assert human_normalized("adventure", 1.0) is None and len(SCORES) == 57


def test_games_are_named_as_the_emulator_names_them() -> None:
    from ale_py import roms

    assert set(SCORES) <= set(roms.get_all_rom_ids())


@pytest.mark.parametrize("kind", [PPO, DQN])
def test_agents_are_told_beside_a_person_where_that_is_known(kind: type[PPO] | type[DQN]) -> None:
    episodes = {"return": [10.0, 20.0], "length": [5, 7]}

    def told(environment: str) -> dict[str, float]:
        world = World.of(environment, Show())
        return dataclasses.replace(kind(), world=world.state()).metrics({}, episodes)

    found = told("ALE/Breakout-v5")
    assert list(found) == ["return", "length", "human_normalized"] and found["return"] == 15
    assert found["human_normalized"] == pytest.approx((15 - 1.7) / (30.5 - 1.7))
    assert list(told("ALE/Adventure-v5")) == list(told("CartPole-v1")) == ["return", "length"] == list(means(episodes))
