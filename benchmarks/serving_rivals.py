"""What `ultragcn serve` is compared with: implicit behind the smallest FastAPI app, and cornac's own server.

    DATA=FILE.npz uvicorn --factory serving_rivals:app                    # implicit
    CORNAC_PYTHON serving_rivals.py FILE.npz FOLDER                       # writes a model that cornac's server loads

`benchmarks/serving.py` writes FILE.npz and starts both: pairs of users and items as the model of ultragcn was trained on, and its number of
dimensions. Few iterations are trained, which changes no cost of a list. The app answers a block of bytes, which is FastAPI's fastest way.
`ROUTES=threads` declares its routes with `def`, which FastAPI runs in threads; otherwise they are `async def`. implicit computes a list
with one thread: more are slower for one user.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

ITERATIONS = 3


def read(file: str) -> tuple[np.ndarray, np.ndarray, sp.csr_matrix, int]:
    """Return the ids of users and of items, who has what (U, I), and the dimensions."""
    data = np.load(file)
    users, items = data["user_ids"], data["item_ids"]
    shape = (len(users), len(items))
    matrix = sp.csr_matrix((np.ones(len(data["indices"]), np.float32), data["indices"], data["indptr"]), shape=shape)
    return users, items, matrix, int(data["dim"])


def app() -> Any:
    """Return the app around implicit's ALS."""
    import msgspec
    from fastapi import FastAPI, HTTPException, Request, Response
    from implicit.cpu.als import AlternatingLeastSquares

    users, items, matrix, dim = read(os.environ["DATA"])
    model = AlternatingLeastSquares(dim, iterations=ITERATIONS, random_state=0)
    model.fit(matrix, show_progress=False)
    model.num_threads = 1
    row_of_user = {str(user): row for row, user in enumerate(users.tolist())}
    row_of_item = {str(item): row for row, item in enumerate(items.tolist())}
    rows_of_users = [matrix[row] for row in range(len(users))]
    encode = msgspec.json.encode
    made = FastAPI()

    def answered(found: tuple[np.ndarray, np.ndarray]) -> Response:
        rows, scores = found
        listed = [{"item": item, "score": score} for item, score in zip(items[rows].tolist(), scores.tolist(), strict=True)]
        return Response(encode({"items": listed}), media_type="application/json")

    def known(user: str, k: int) -> Response:
        row = row_of_user.get(user)
        if row is None:
            raise HTTPException(404, "unknown user")
        return answered(model.recommend(row, rows_of_users[row], k, filter_already_liked_items=True))

    def new(question: dict[str, Any]) -> Response:
        columns = sorted({row_of_item[str(item)] for item in question["items"]})
        has = sp.csr_matrix((np.ones(len(columns), np.float32), columns, [0, len(columns)]), shape=(1, len(items)))
        return answered(model.recommend(0, has, question["k"], filter_already_liked_items=True, recalculate_user=True))

    if os.environ.get("ROUTES") == "threads":

        @made.get("/recommend/{user}")
        def recommend(user: str, k: int = 20) -> Response:
            return known(user, k)

    else:

        @made.get("/recommend/{user}")
        async def recommend_alone(user: str, k: int = 20) -> Response:
            return known(user, k)

    @made.post("/recommend")
    async def recommend_new(request: Request) -> Response:
        return new(await request.json())

    return made


def save_cornac(file: str, folder: str) -> None:
    """Train cornac's BPR and save it with its data, and write where into `folder`/path.txt."""
    import cornac

    users, items, matrix, dim = read(file)
    rows, columns = matrix.nonzero()
    triples = [(str(users[row]), str(items[column]), 1.0) for row, column in zip(rows, columns, strict=True)]
    train = cornac.data.Dataset.from_uir(triples)
    model = cornac.models.BPR(k=dim, max_iter=ITERATIONS, num_threads=2, seed=0, verbose=False)
    model.fit(train)
    (Path(folder) / "path.txt").write_text(str(model.save(folder, save_trainset=True)), encoding="utf-8")


if __name__ == "__main__":
    save_cornac(sys.argv[1], sys.argv[2])
