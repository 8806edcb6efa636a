"""A catalogue in which topics say what users like: every user likes two of eight topics."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

N_USERS, N_ITEMS, N_TOPICS = 300, 128, 8
TOPICS = ("apple pear", "dog cat", "car truck", "guitar drum", "river sea", "bread cake", "chess cards", "moon star")


def topic_of_items() -> np.ndarray:
    """Topic of each item; four neighbours in the order of indices have the same one."""
    return np.arange(N_ITEMS) // 4 % N_TOPICS


def interactions(seed: int = 0) -> sp.csr_matrix:
    generator = np.random.default_rng(seed)
    likes = np.zeros((N_USERS, N_TOPICS), dtype=bool)
    for user in range(N_USERS):
        likes[user, generator.permutation(N_TOPICS)[:2]] = True
    chance = np.where(likes[:, topic_of_items()], 0.4, 0.01)
    return sp.csr_matrix((generator.random(chance.shape) < chance).astype(np.float32))


def texts(seed: int = 0) -> list[str]:
    """A text with both words of the topic, and words that say nothing."""
    generator = np.random.default_rng(seed)
    noise = [f"noise{k}" for k in range(40)]
    return [f"{TOPICS[topic]} {' '.join(generator.choice(noise, 2))}" for topic in topic_of_items()]
