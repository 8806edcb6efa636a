"""An item-item model of `implicit` behind the route of the service, for benchmarks/service.py.

The route calls the model in the event loop, which is the fastest way for a model that takes less than a millisecond.
The folder in the environment variable MODEL has [model.npz] and [matrix.npz].
"""

from __future__ import annotations

import json
import os

import scipy.sparse as sp
from fastapi import FastAPI, Response
from implicit.nearest_neighbours import ItemItemRecommender

from recbole_universal.app.service.bodies import RecommendBody


def app() -> FastAPI:
    """The application; user and item ids are the rows and columns of the matrix."""
    folder = os.environ["MODEL"]
    model = ItemItemRecommender.load(f"{folder}/model.npz")
    matrix = sp.load_npz(f"{folder}/matrix.npz").tocsr()
    made = FastAPI()

    @made.get("/health")
    async def health() -> Response:
        return Response(b"{}", media_type="application/json")

    @made.post("/recommend")
    async def recommend(body: RecommendBody) -> Response:
        lists = []
        for user in body.users or ():
            row = int(user)
            ids, scores = model.recommend(row, matrix[row], body.k)
            items = [
                {"item": item, "title": None, "score": score, "rank": rank}
                for rank, (item, score) in enumerate(zip(ids.tolist(), scores.tolist(), strict=True), start=1)
            ]
            lists.append({"user": user, "items": items})
        content = {"model": "implicit", "lists": lists, "notes": []}
        return Response(json.dumps(content, separators=(",", ":")), media_type="application/json")

    return made
