"""Ranking: the network, candidates, the self-check, mixing of scores."""
