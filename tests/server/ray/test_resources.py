"""What a server takes of Ray's resources, in Ray's words; Ray itself isn't needed."""

from __future__ import annotations

import math

import pytest

from isoserver.errors import RayError
from isoserver.ray.resources import actor_options


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({}, {"num_cpus": 0, "resources": {}}),
        (
            {"CPU": 1.5, "GPU": 2.0, "memory": 4e9, "place": 0.5, "TPU": 4.0},
            {
                "num_cpus": 1.5,
                "num_gpus": 2.0,
                "memory": 4e9,
                "resources": {"place": 0.5, "TPU": 4.0},
            },
        ),
        # Ray takes these from whoever asks for a node, or a kind of one.
        (
            {"GPU": 0.5, "node:10.0.0.7": 0.0001, "accelerator_type:A100": 0.001},
            {
                "num_cpus": 0,
                "num_gpus": 0.5,
                "resources": {"node:10.0.0.7": 0.0001, "accelerator_type:A100": 0.001},
            },
        ),
    ],
)
def test_resources_with_an_option_of_their_own_are_given_there(
    resources: dict[str, float], options: dict[str, object]
) -> None:
    assert actor_options(resources) == options


@pytest.mark.parametrize(
    ("name", "amount", "said"),
    [
        ("object_store_memory", 1e9, "object_store_memory=1e+09 "),
        ("bundle", 0, "bundle=0 "),
        ("", 1, "it has no name"),
        ("größe", 1, "größe=1 "),
        ("place", -1, "place=-1 "),
        ("memory", math.nan, "memory=nan "),
        ("CPU", math.inf, "CPU=inf "),
        ("place", 0.00001, "less than 0.0001"),
        ("GPU", 1.5, "GPU=1.5 "),
    ],
)
def test_what_ray_would_not_take_is_refused_by_its_name(
    name: str, amount: float, said: str
) -> None:
    with pytest.raises(RayError) as raised:
        actor_options({"CPU": 1, name: amount})
    assert said in str(raised.value)
