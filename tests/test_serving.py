"""The server: the same answers as the library and the command, guarded, and there again after whatever clients do."""

import asyncio
import contextlib
import gc
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from tests.servers import serving
from ultragcn import EASE, Rules, UltraGCN, load_dataset
from ultragcn.cli import main
from ultragcn.errors import UsageError

httpx = pytest.importorskip("httpx", reason="needs what ultragcn serve needs: pip install -r requirements-dev.txt")
pytest.importorskip("uvicorn", reason="needs what ultragcn serve needs: pip install -r requirements-dev.txt")

KEY = "a-key-of-more-than-16-signs"
RULES = """
[cheap]
where = "price < {price}"
[cheap.values]
price = 30
[varied]
max_per = { genre = 2 }
diversity = 0.3
[strict]
where = "price > {least}"
[over]
until = 2020-01-01
where = "price < 0"
[kind]
unknown = "popular"
"""


@pytest.fixture(scope="module")
def model():
    data = load_dataset("demo")
    made = UltraGCN(embedding_dim=8, epochs=3, seed=0, item_graph_weight=0.5).fit(data)
    songs = made.item_ids.ids.tolist()
    import polars as pl

    genres = [song.split("(")[1].rstrip(")") for song in songs]
    table = {"item_id": songs, "genre": genres, "price": [5 + n % 40 for n in range(len(songs))]}
    return made.set_items_table(pl.DataFrame(table))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return model.save(tmp_path_factory.mktemp("serving") / "run")


@pytest.fixture(scope="module")
def rules(folder):
    path = folder.parent / "rules.toml"
    path.write_text(RULES)
    return path


@pytest.fixture(scope="module")
def server(folder, rules):
    with serving(folder, "--rules", rules, "--admin_port", "0", "--most_wait", "5000") as running:
        yield running


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(folder):
    with serving(folder, "--most_wait", "5000", ULTRAGCN_KEY=KEY) as running:
        yield running


def listed(answer):
    assert answer.status_code == 200, answer.text
    return [(one["item"], one["score"]) for one in answer.json()["items"]]


def python(items, scores):
    return [(item, float(score)) for item, score in zip(items.tolist(), scores, strict=True) if item != ""]


# ------------------------------------------------------------------ answers


def a_request(draw, model):
    """Return a random request: its JSON, what Python is called with, and the words of the command."""
    songs, k = model.item_ids.ids.tolist(), draw.choice([1, 3, 20, 40])
    question, named, words = {"k": k}, {}, ["--top_k", str(k)]
    if draw.random() < 0.7:
        user = model.user_ids.ids[draw.randrange(len(model.user_ids))]
        question["user"], who = user, [f"--users={user}"]
    else:
        items = draw.sample(songs, draw.randint(1, 6))
        question["items"], who = items, [word for item in items for word in ("--items", item)]
    if draw.random() < 0.3:
        question["exclude"] = named["exclude"] = draw.sample(songs, draw.randint(1, 20))
    if draw.random() < 0.3:
        question["only"] = named["only"] = draw.sample(songs, draw.randint(1, 60))
    if draw.random() < 0.3:
        question["diversity"] = named["diversity"] = draw.choice([0.0, 0.2, 0.7, 1.0])
        words += ["--diversity", str(question["diversity"])]
    if draw.random() < 0.2:
        question["max_per"], named["max_per"] = {"genre": 2}, {"genre": 2}
        words += ["--max_per", "genre=2"]
    if draw.random() < 0.2:
        question["include_seen"] = True
        words.append("--include_seen")
    rule = draw.choice([None, None, "cheap", "varied", "strict"])
    values = {"cheap": {"price": draw.randint(6, 40)}, "strict": {"least": draw.randint(6, 40)}}.get(rule, {})
    if rule:
        question["rule"], question["values"] = [rule], values
        words += ["--rule", rule, *(word for name, value in values.items() for word in ("--value", f"{name}={value}"))]
    return question, named, rule, values, [*who, *words]


def test_500_random_requests_have_the_same_lists_in_python_over_http_and_on_the_command_line(
    model, folder, rules, client, tmp_path, capsys
):
    draw = random.Random(7)
    for number in range(500):
        question, named, rule, values, words = a_request(draw, model)
        if rule:
            named["rules"] = Rules.read(rules, rule, values=values)
        for name in ("exclude", "only"):
            if name in question:
                file = tmp_path / f"{name}.txt"
                file.write_text("\n".join(["item_id", *question[name]]) + "\n")
                words += [f"--{name}", str(file)]
        seen = not question.get("include_seen", False)
        if "user" in question:
            expected = python(*model.recommend(question["user"], question["k"], seen, **named))
        else:
            expected = python(*model.recommend_for(question["items"], question["k"], seen, **named))
        assert listed(client.post("/recommend", json=question)) == expected, question
        if number % 5 == 0:  # the command loads the model each time
            words += ["--rules", str(rules)] if rule else []
            assert main(["recommend", str(folder), *words, "--format", "json"]) == 0
            printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert [one["item_id"] for one in printed] == [item for item, _ in expected], words
            assert [one["score"] for one in printed] == pytest.approx([score for _, score in expected], rel=1e-5)


def test_requests_that_come_at_once_are_answered_as_if_alone(model, client):
    users = model.user_ids.ids.tolist()[:200]
    alone = {user: python(*model.recommend(user, 7)) for user in users}
    with ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda user: (user, listed(client.get(f"/recommend/{user}", params={"k": 7}))), users * 2)
        for user, found in answers:
            assert found == alone[user]


def test_what_a_user_has_besides_counts_at_once_and_is_not_stored(model, client):
    user, extra = model.user_ids.ids[0], model.item_ids.ids[17]
    before = listed(client.get(f"/recommend/{user}"))
    history = [one["item"] for one in client.get(f"/history/{user}").json()["items"]]
    assert sorted(history) == sorted(model.item_ids.ids[model.seen_[0].indices])
    with_it = listed(client.post("/recommend", json={"user": user, "add": [extra]}))
    assert with_it == python(*model.recommend_for([*model.item_ids.ids[model.seen_[0].indices], extra]))
    assert extra not in [item for item, _ in with_it]
    assert listed(client.get(f"/recommend/{user}")) == before


def test_unknown_ids_are_listed_and_do_not_count(model, client):
    song = model.item_ids.ids[3]
    answer = client.post("/recommend", json={"items": [song, "nix"], "exclude": ["nought"], "only": [*model.item_ids.ids[:9], 12]}).json()
    assert answer["unknown"] == {"items": ["nix"], "exclude": ["nought"], "only": [12]}
    assert [one["item"] for one in answer["items"]] == model.recommend_for([song], only=model.item_ids.ids[:9])[0].tolist()


def test_an_unknown_user_is_an_error_or_gets_what_is_popular(model, client):
    refused = client.get("/recommend/stranger")
    assert refused.status_code == 404
    assert refused.json()["error"].startswith("the model does not know user 'stranger'")
    answer = client.get("/recommend/stranger", params={"unknown": "popular", "k": 4})
    assert answer.json()["fallback"] is True
    assert listed(answer) == listed(client.get("/popular", params={"k": 4}))
    assert listed(answer) == python(*model.recommend("stranger", 4, unknown="popular"))
    assert listed(client.post("/recommend", json={"user": "stranger", "rule": ["kind"], "k": 4})) == listed(answer)
    assert listed(client.get("/recommend/stranger", params={"unknown": "skip"})) == []
    newcomer = client.post("/recommend", json={"user": "stranger", "add": [model.item_ids.ids[2]], "unknown": "popular"}).json()
    assert newcomer["fallback"] is False
    assert [one["item"] for one in newcomer["items"]] == model.recommend_for([model.item_ids.ids[2]])[0].tolist()


def test_a_batch_answers_each_question_or_says_why_not(model, client):
    users = model.user_ids.ids.tolist()
    questions = [{"user": users[0]}, {"user": "stranger"}, {"items": [model.item_ids.ids[0]], "k": 2}, {"user": users[1], "rule": ["nix"]}]
    answers = client.post("/recommend/batch", json={"questions": questions}).json()["answers"]
    assert ["error" in one for one in answers] == [False, True, False, True]
    assert [one["item"] for one in answers[0]["answer"]["items"]] == model.recommend(users[0])[0].tolist()
    assert "unknown rule 'nix'" in answers[3]["error"]


def test_reasons_similar_items_scores_and_explanations_are_those_of_the_library(model, client):
    user, song = model.user_ids.ids[5], model.item_ids.ids[9]
    answer = client.post("/recommend", json={"user": user, "k": 3, "explain": True}).json()
    for one in answer["items"]:
        why = model.explain(user, one["item"])
        assert [reason["item"] for reason in one["because"]] == why.item_ids[: len(one["because"])].tolist()
        assert [reason["share"] for reason in one["because"]] == pytest.approx(why.shares[: len(one["because"])])
    path = urllib.parse.quote(song)
    assert listed(client.get(f"/similar/{path}", params={"k": 5})) == python(*model.similar_items(song, 5))
    assert listed(client.get(f"/similar/{path}", params={"by": "embeddings"})) == python(*model.similar_items(song, by="embeddings"))
    scores = client.post("/score", json={"user": user, "items": [song, "nix"]}).json()
    assert scores["items"] == [{"item": song, "score": model.score(user, song)}]
    assert scores["unknown"] == {"items": ["nix"]}
    told = client.get("/explain", params={"user": user, "item": song, "k": 2}).json()
    total = sum(one["contribution"] for one in told["reasons"]) + told["others"] + told["trend"] + told["rest"]
    assert total == pytest.approx(told["score"])
    assert told["words"] == model.explain(user, song).words()
    given = client.get("/explain", params={"items": [song, "nix"], "item": model.item_ids.ids[3]}).json()
    assert given["unknown"] == {"items": ["nix"]}
    assert given["reasons"][0]["item"] == song


def test_items_are_found_by_a_part_of_their_name_the_best_known_first(model, client):
    found = client.get("/items", params={"q": "JAZZ", "k": 5}).json()["items"]
    assert len(found) == 5
    assert all("jazz" in one["item"] for one in found)
    degrees = [one["users"] for one in found]
    assert degrees == sorted(degrees, reverse=True)
    assert client.get("/items", params={"q": "there is no such song"}).json()["items"] == []
    some = model.item_ids.ids[:2].tolist()
    answer = client.get("/items", params={"id": [*some, "nix"]}).json()
    assert [one["item"] for one in answer["items"]] == some
    assert answer["unknown"] == {"items": ["nix"]}


def test_integer_ids_are_found_as_numbers_and_as_text(tmp_path):
    import polars as pl

    from ultragcn.serving.engine import Engine
    from ultragcn.serving.messages import ListQuestion

    pairs = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": [7, 8, 7, 9, 8]})
    engine = Engine(EASE(l2=1.0).fit(pairs).save(tmp_path / "run"))
    by_number, by_text, odd = engine.lists([ListQuestion(user=1), ListQuestion(user="1"), ListQuestion(user="01")])
    assert by_number == by_text
    assert by_number.user == 1
    assert isinstance(odd, UsageError)


def test_every_model_is_served_as_far_as_it_can(tmp_path):
    from ultragcn.models.registry import BASELINES
    from ultragcn.serving.engine import Engine
    from ultragcn.serving.messages import ListQuestion

    data = load_dataset("demo")
    for name in ("popularity", "itemknn", "ease", "ials", "bpr"):
        settings = {"epochs": 1} if name in ("ials", "bpr") else {}
        model = BASELINES[name](**settings).fit(data)
        engine = Engine(model.save(tmp_path / name))
        engine.warm()
        engine.warm_rest()
        user = model.user_ids.ids[3]
        [answer] = engine.lists([ListQuestion(user=user, k=5)])
        assert [one.item for one in answer.items] == model.recommend(user, 5)[0].tolist()
        [new] = engine.lists([ListQuestion(items=[model.item_ids.ids[0]])])
        assert isinstance(new, UsageError) == ("new users" not in engine.abilities)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/recommend/u?kk=3", 400, "unknown parameter 'kk'; did you mean k?"),
        ("/recommend/u?k=0", 400, "k must be at least 1"),
        ("/recommend/u?k=1&k=2", 400, "parameter k comes twice"),
        ("/recommend/u?k=many", 400, "k must be a whole number, not a text"),
        ("/recommend/u?explain=yes", 400, "explain must be true or false, not a text"),
        ("/recommend/u?unknown=populer", 400, "unknown must be one of error, raise, popular, skip, not 'populer'; did you mean popular?"),
        ("/recommend/", 404, "give the id of the user in the path"),
        ("/model/", 404, "there is no '/model/' here"),
        ("/recommend/u?where=1", 400, "a request takes no where; write the condition into a file of rules (ultragcn serve RUN"),
        ("/recommend/u?items=x", 400, "this route takes no items; give items in the body of POST /recommend"),
        ("/popular?exclude=x", 400, "this route takes no exclude; give exclude in the body of POST /recommend, or name a rule"),
        ("/recommend/u?k=3&top_k=3", 400, "give k or top_k, not both: they mean the same"),
        ("/recommend/u?k=3.5", 400, "k must be a whole number, not a text"),
        ("/recommend/user-0001?rule=nix", 422, "unknown rule 'nix'"),
        ("/recommend/user-0001?rule=strict", 422, "the value of {least} is missing"),
        ("/recommend/user-0001?max_per=brand=2", 422, "brand"),
        ("/recommend/user-0001?max_per=brand", 400, "COLUMN=N"),
        ("/similar/nix", 404, "the model does not know item 'nix'"),
        ("/explain?item=nix", 422, "give user, or items"),
        ("/nix", 404, "there is no '/nix' here"),
        ("/items?q=a&id=b", 422, "not both"),
        ("/admin/reload", 404, "there is no"),
        ("/recommend/" + "x" * 1001, 400, "at most 1000 characters"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_sentence(client, path, status, says):
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]


def test_a_url_takes_what_is_left_out_kept_and_added_as_a_body_does(model, client):
    songs = model.item_ids.ids.tolist()
    user, best = "user-0003", model.recommend("user-0003", 9)[0].tolist()
    for name, some in (("exclude", best[:2]), ("only", best[4:7]), ("add", songs[40:42])):
        by_url = client.get(f"/recommend/{user}", params={name: some, "k": 4})
        assert listed(by_url) == listed(client.post("/recommend", json={"user": user, name: some, "k": 4}))
    assert listed(client.get(f"/recommend/{user}", params={"exclude": best[:2], "k": 2})) == python(
        *model.recommend(user, 2, exclude=best[:2])
    )
    assert client.get(f"/recommend/{user}", params={"exclude": "nix"}).json()["unknown"] == {"exclude": ["nix"]}


def test_names_of_the_library_and_whole_numbers_with_a_point_are_read(model, client):
    wanted = listed(client.get("/recommend/user-0001?k=3"))
    assert listed(client.get("/recommend/user-0001?top_k=3")) == wanted
    assert listed(client.get("/recommend/user-0001?k=3.0")) == wanted
    for question in ({"user_id": "user-0001", "top_k": 3}, {"user": "user-0001", "k": 3.0}):
        assert listed(client.post("/recommend", json=question)) == wanted
        [one] = client.post("/recommend/batch", json={"questions": [question]}).json()["answers"]
        assert [row["item"] for row in one["answer"]["items"]] == [item for item, _ in wanted]
    song = model.item_ids.ids[0]
    scored = client.post("/score", json={"user_id": "user-0001", "items": [song]})
    assert scored.json()["items"] == [{"item": song, "score": model.score("user-0001", song)}]
    assert client.get("/explain", params={"user_id": "user-0001", "item": song}).json()["user"] == "user-0001"
    by_rule = {"user": "user-0001", "max_per": {"genre": 2.0}, "rule": ["cheap"], "values": {"price": 20.5}, "diversity": 0.0, "k": 3.0}
    assert listed(client.post("/recommend", json=by_rule)) == python(
        *model.recommend("user-0001", 3, max_per={"genre": 2}, where="price < 20.5", diversity=0.0)
    )


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/recommend", {"user": "u", "k": 1, "top_k": 1}, "give k or top_k, not both: they mean the same"),
        ("/recommend", {"user": "u", "k": 3.5}, "k must be a whole number, not a number with a fraction"),
        ("/recommend", {"user": "u", "where": "price < 3"}, "a request takes no where; write the condition into a file of rules"),
        ("/recommend", {"user": "u", "exlude": []}, "there is no field 'exlude'; did you mean exclude? (allowed: k, rule, "),
        ("/recommend/batch", {"questions": [{"user": 1}, {"user": 1, "bad": 1}]},
         "questions[1]: there is no field 'bad'; did you mean add? (allowed there: k, rule, values, max_per, diversity, "),
        ("/recommend/batch", {"questions": [{"user": 1, "where": "x"}]}, "questions[0]: a request takes no where"),
        ("/recommend/batch", {"questions": [{"user": 1, "user_id": 1}]}, "give user or user_id, not both"),
        ("/recommend/batch", {"question": []}, "there is no field 'question'; did you mean questions? (allowed: questions)"),
        ("/score", {"items": ["x"]}, "user"),
    ],
)  # fmt: skip
def test_what_a_body_cannot_mean_is_one_sentence_that_says_where(client, path, body, says):
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_deep_body_is_refused_however_it_begins(client):
    answer = client.post("/recommend", content=b'{"k": 3.5, "items": ' + b"[" * 100_000)
    assert (answer.status_code, answer.json()["error"]) == (400, "k must be a whole number, not a number with a fraction")


def test_columns_of_the_items_table_come_where_they_are_wanted(model, client):
    table = model.items_table_.kept
    for answer in (client.get("/recommend/user-0001?columns=true&k=3"), client.get("/popular?columns=true&k=3")):
        for one in answer.json()["items"]:
            [row] = table.filter(table["item_id"] == one["item"]).to_dicts()
            assert one["columns"] == row
    assert "columns" not in client.get("/recommend/user-0001").text
    assert client.get("/model").json()["example_user"] == model.user_ids.ids[0]


def test_each_error_names_its_request(client):
    for answer in (
        client.get("/recommend/nobody"), client.get("/nix"), client.post("/popular"), client.get("/recommend/user-0001?rule=nix"),
        client.get("/recommend/u?k=0"), client.post("/recommend", content=b"{"), client.get("/model", headers={"Host": "evil.example"}),
        client.get("/model", headers={"X": "a" * 70_000}),
    ):  # fmt: skip
        assert answer.status_code >= 400
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'{"user": true}', 400), (b'{"user": 1e999}', 400), (b'{"usr": "x"}', 400),
        (b'{"user": "\xff"}', 400), (b'{"user": "\\ud800"}', 400), (b"[" * 100_000, 400), (b'{"values": ' + b'{"a":' * 50_000, 400),
        (b'{"user": 99999999999999999999}', 400), (b'{"items": []}', 422), (b'{"user": "x", "items": ["y"]}', 422),
        (b'{"items": [' + b'"x",' * 1000 + b'"x"]}', 400), (b'{"user": "x", "diversity": NaN}', 400), (b" " * 1_000_001, 413),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused(client, body, status):
    answer = client.post("/recommend", content=body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert client.get("/health/ready").status_code == 200


def test_no_problem_names_a_path_of_the_machine_or_another_user(client, folder, model):
    for answer in (
        client.get("/recommend/nix"), client.get("/recommend/user-0001?rule=nix"), client.get("/recommend/user-0001?rule=strict"),
        client.get("/recommend/user-0001?rule=strict&value=other=1"),
    ):  # fmt: skip
        assert answer.status_code in (404, 422)
        assert str(folder.parent) not in answer.text
        assert model.user_ids.ids[2] not in answer.text


def test_the_key_is_demanded_on_every_route_of_the_document(guarded):
    with httpx.Client(base_url=guarded.url, timeout=30) as client:
        allowed = {"Authorization": f"Bearer {KEY}"}
        document = client.get("/openapi.json", headers=allowed).json()
        checked = 0
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if "security" not in operation:
                    assert path in ("/health/live", "/health/ready")
                    continue
                where = path.replace("{user}", "user-0001").replace("{item}", "x")
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}):
                    answer = client.request(method.upper(), where, headers=headers)
                    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (method, path)
                assert client.request(method.upper(), where, headers=allowed).status_code != 401
                checked += 1
        assert checked >= 12
        assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200
        assert client.get("/").status_code == 200


def test_another_host_name_is_refused(client):
    assert client.get("/model", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/model", headers={"Host": "localhost:99"}).status_code == 200
    assert client.get("/model", headers={"Host": "[::1]:80"}).status_code == 200


def test_the_page_is_served_under_a_policy_that_lets_nothing_else_in(client):
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/page.svg", "image/svg+xml")):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    for path in ("/../cli/serve.py", "/page/../../errors.py", "/%2e%2e/errors.py", "/page.css/../../x", "//etc/passwd", "/page.js%00"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "no key is set"),
        (["--port", "70000"], "from 0 to 65535"),
        (["--host", "203.0.113.7", "--without_key"], "cannot listen on 203.0.113.7"),
        (["--key_file", "nix"], "cannot read --key_file nix"),
        (["--rules", "nix.toml"], "cannot read nix.toml"),
        (["--most_wait", "0"], "milliseconds"),
        (["--bind", "x"], "did you mean --host?"),
    ],
)  # fmt: skip
def test_a_server_that_should_not_start_says_why(folder, capsys, words, says):
    assert main(["serve", str(folder), *words]) in (1, 2)
    assert says in capsys.readouterr().err


def test_a_port_that_is_taken_and_a_short_key_are_refused(folder, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(folder), "--port", str(taken.getsockname()[1])]) == 1  # it may be free later
    assert "give another with --port" in capsys.readouterr().err
    (tmp_path / "key").write_text("short\n")
    assert main(["serve", str(folder), "--key_file", str(tmp_path / "key")]) == 2
    assert "16 or more" in capsys.readouterr().err


# --------------------------------------------------------------- the process


def test_a_request_leaves_one_line_of_json_in_the_log_and_no_id(server, client):
    client.get("/recommend/user-0001", headers={"X-Request-ID": "mine-1"})
    client.get("/recommend/a-stranger", headers={"X-Request-ID": "bad id!"})
    time.sleep(1)
    lines = [json.loads(line) for line in server.lines() if line.startswith("{")]
    [line] = [line for line in lines if line.get("request_id") == "mine-1"]
    assert line.keys() == {"time", "request_id", "method", "route", "status", "ms", "model", "fallback"}
    assert line["route"] == "GET /recommend/{user}"
    assert line["status"] == 200
    assert not any("a-stranger" in line or "user-0001" in line for line in server.lines())
    text = client.get("/metrics").text
    assert re.search(r'ultragcn_requests_total\{route="GET /recommend/\{user\}",status="200"\} [1-9]', text)
    assert 'ultragcn_model_info{model="ultragcn-' in text


def test_a_reload_answers_with_the_new_model_and_keeps_the_old_one_where_it_fails(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    data = load_dataset("demo")
    other = UltraGCN(embedding_dim=4, epochs=1, seed=3).fit(data)
    with serving(run, "--admin_port", "0") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        first = client.get("/model").json()["model"]
        unchanged = httpx.post(f"{server.admin}/admin/reload", timeout=60)
        assert unchanged.json() == {"model": first, "changed": False}
        other.save(run)
        changed = httpx.post(f"{server.admin}/admin/reload", timeout=60).json()
        assert changed["changed"] is True
        assert client.get("/model").json()["model"] == changed["model"] != first
        answer = client.get("/recommend/user-0001").json()
        assert answer["model"] == changed["model"]
        assert [one["item"] for one in answer["items"]] == other.recommend("user-0001")[0].tolist()
        path = run / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-7])
        failed = httpx.post(f"{server.admin}/admin/reload", timeout=60)
        assert failed.status_code == 409
        assert "the old model goes on answering" in failed.json()["error"]
        server.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert client.get("/recommend/user-0001").json() == answer
        assert server.process.poll() is None
        assert client.post("/admin/reload").status_code == 404
        assert sum('"event": "reload failed"' in line for line in server.lines()) >= 1


def test_told_to_end_it_answers_what_has_begun_and_ends_with_status_0(folder):
    with serving(folder) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client, ThreadPoolExecutor(1) as pool:
            questions = [{"user": f"user-{number:04d}", "explain": True, "k": 40} for number in range(1, 101)]
            long = pool.submit(client.post, "/recommend/batch", json={"questions": questions})
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            assert long.result().status_code == 200
        assert server.process.wait(30) == 0


def test_too_much_at_once_is_refused_at_once_and_the_rest_is_answered(folder):
    with serving(folder, "--most_wait", "5") as server:
        body = {"questions": [{"user": f"user-{number:04d}", "explain": True} for number in range(1, 51)]}

        def ask(_):
            started = time.monotonic()
            answer = httpx.post(f"{server.url}/recommend/batch", json=body, timeout=60)
            return answer.status_code, answer.headers.get("retry-after"), time.monotonic() - started

        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(ask, range(48)))
        assert {status for status, _, _ in answers} == {200, 503}
        assert all(after == "1" for status, after, _ in answers if status == 503)
        assert httpx.get(f"{server.url}/recommend/user-0001", timeout=30).status_code == 200


def test_a_connection_whose_request_was_refused_unread_takes_the_next_one(folder):
    body = {"questions": [{"user": f"user-{number:04d}", "explain": True} for number in range(1, 9)], "unused": "x" * 300_000}
    with serving(folder, "--most_wait", "1") as server:

        def ask(_):
            with httpx.Client(base_url=server.url, timeout=60) as client:
                lists = [client.get("/recommend/user-0001?explain=true&k=50").status_code for _ in range(20)]
                return [*lists, *(client.post("/recommend/batch", json=body).status_code for _ in range(4)), *lists]

        with ThreadPoolExecutor(40) as pool:
            statuses = [status for one in pool.map(ask, range(40)) for status in one]
        assert {200, 503} <= {*statuses} <= {200, 400, 503}  # 400: a batch has nothing unused
        text = httpx.get(f"{server.url}/metrics").text
        assert re.search(r'ultragcn_requests_total\{route="GET /recommend/\{user\}",status="503"\} [1-9]', text)


def test_only_questions_are_turned_away_for_want_of_time():
    from ultragcn.serving.application import Application, Settings

    class Full:
        is_full = True

    class Counted:
        def count(self, route, status, seconds, fallback):
            seen.append((route, status))

    made = Application(Full(), Settings(), None, Counted())
    for method, path, route in (
        ("GET", "/recommend/user-0001", "GET /recommend/{user}"), ("POST", "/recommend", "POST /recommend"),
        ("POST", "/recommend/batch", "POST /recommend/batch"), ("GET", "/similar/a/b", "GET /similar/{item}"),
        ("GET", "/items", "GET /items"),
        ("GET", "/health/live", None), ("GET", "/metrics", None), ("GET", "/", None), ("GET", "/nothing", None),
        ("DELETE", "/items", None), ("GET", "nothing", None),
    ):  # fmt: skip
        seen = []
        refusal = made.turned_away(method.encode(), f"{path}?k=3".encode())
        assert seen == ([] if route is None else [(route, 503)])
        assert refusal is None or (refusal.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 1\r\n" in refusal)


def test_one_answer_that_took_long_by_chance_makes_nobody_refused_and_a_lasting_change_is_learned():
    from ultragcn.serving.worker import Worker

    loop = asyncio.new_event_loop()
    worker = Worker(None, loop)
    try:
        for _ in range(100):
            worker._learn_one("lists", 0.0004)
        worker._learn_one("lists", 0.2)
        assert worker._cost["lists"] < 0.0006
        for _ in range(60):
            worker._learn_one("lists", 0.004)
        assert worker._cost["lists"] == pytest.approx(0.004, rel=0.05)
    finally:
        worker.stop()
        loop.close()


def test_lists_that_are_slow_alone_and_quick_together_are_taken_on_until_a_block_is_full():
    from ultragcn.serving.messages import ListQuestion
    from ultragcn.serving.worker import LISTS, BusyError, Worker

    class Slow:
        id = "slow"
        blocks: ClassVar[list[int]] = []

        def said(self, error):
            return str(error)

        def lists(self, questions):
            self.blocks.append(len(questions))
            time.sleep(0.1)
            return [UsageError("none")] * len(questions)

    async def ask():
        worker = Worker(Slow(), asyncio.get_running_loop())
        try:
            await worker.ask(LISTS, ListQuestion(user=1))
            futures = [worker.ask(LISTS, ListQuestion(user=1))]
            await asyncio.sleep(0.03)  # the thread has taken it
            assert not worker.is_full
            futures += [worker.ask(LISTS, ListQuestion(user=1)) for _ in range(16)]
            assert worker.is_full
            for kind in (LISTS, "explained"):
                with pytest.raises(BusyError):
                    worker.ask(kind, ListQuestion(user=1))
            await asyncio.gather(*futures)
        finally:
            worker.stop()

    asyncio.run(ask())
    assert Slow.blocks == [1, 1, 16]


def test_no_search_for_garbage_stops_the_server_and_an_exchanged_model_goes_without_one(folder, monkeypatch):
    from ultragcn.serving import server
    from ultragcn.serving.engine import Engine
    from ultragcn.serving.messages import ListQuestion

    left = []

    def instead(work):
        work.close()
        left.append(len(gc.get_objects()))

    monkeypatch.setattr(server.asyncio, "run", instead)
    server.serve(lambda: Engine(folder), folder, server.Options(port=0), print)
    assert left[0] < len(gc.get_objects()) / 10
    engine = Engine(folder)
    engine.warm()
    engine.lists([ListQuestion(user="user-0001"), ListQuestion(items=engine.model.item_ids.ids[:2].tolist())])
    gc.collect()
    gc.disable()
    try:
        model = weakref.ref(engine.model)
        del engine
        assert model() is None
    finally:
        gc.enable()


def address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def test_bad_clients_are_bounded_and_others_are_still_answered(folder):
    with serving(folder) as server:
        held = []
        try:
            for number in range(1300):  # more than are kept open: half a request each, or nothing
                one = socket.create_connection(address(server), timeout=10)
                if number % 2:
                    one.sendall(b"GET /model HTTP/1.1\r\nHost: localhost\r\n")
                held.append(one)
                if number % 100 == 0:
                    assert httpx.get(f"{server.url}/recommend/user-0001", timeout=30).status_code == 200
            assert httpx.get(f"{server.url}/recommend/user-0001", timeout=30).status_code == 200
            number = float(re.search(r"^ultragcn_connections (\S+)", httpx.get(f"{server.url}/metrics", timeout=30).text, re.M)[1])
            assert number <= 1001
        finally:
            for one in held:
                one.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000,
        b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_request_closes_its_connection_and_nothing_else(server, client, sent):
    with socket.create_connection(address(server), timeout=20) as one:
        try:
            one.sendall(sent)
            first = one.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            first = b""
    assert first == b"" or first.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), first[:80]
    assert client.get("/health/ready").status_code == 200


def test_a_request_that_never_ends_and_an_answer_that_nobody_takes_are_given_up(folder):
    with serving(folder) as server, socket.create_connection(address(server), timeout=40) as slow:
        slow.sendall(b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        started = time.monotonic()
        end = slow.recv(65536)
        assert 5 < time.monotonic() - started < 30
        assert end == b"" or b" 408 " in end


def test_chunked_bodies_are_read_and_bounded(client, model):
    question = json.dumps({"user": "user-0001"}).encode()
    assert listed(client.post("/recommend", content=iter([question[:5], question[5:]]))) == python(*model.recommend("user-0001"))
    with contextlib.suppress(httpx.TransportError):  # the connection may be closed while the rest is being sent
        assert client.post("/recommend", content=iter([b" " * 300_000] * 5)).status_code == 413
    assert client.get("/health/ready").status_code == 200


def test_serving_loads_neither_torch_nor_matplotlib(server):
    maps = f"/proc/{server.process.pid}/maps"
    if not os.path.exists(maps):
        pytest.skip("needs /proc")
    with open(maps) as file:
        text = file.read()
    assert "torch" not in text
    assert "matplotlib" not in text


@pytest.mark.slow
def test_2000_made_up_requests_meet_the_document(folder, rules):
    pytest.importorskip("schemathesis", reason="needs schemathesis: pip install -r requirements-dev.txt")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,"
    checks += "negative_data_rejection,ignored_auth,unsupported_method"
    settings = folder.parent / "schemathesis.toml"  # 431 is a refusal too
    settings.write_text('[checks]\nnegative_data_rejection.expected-statuses = ["4xx"]\n')
    with serving(folder, "--rules", rules, "--most_wait", "20000", ULTRAGCN_KEY=KEY) as server:
        words = [
            "--config-file",
            str(settings),
            "run",
            f"{server.url}/openapi.json",
            "-H",
            f"Authorization: Bearer {KEY}",
            "--max-examples",
            "130",
            "--seed",
            "5",
        ]
        program = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
        done = subprocess.run([*program, *words, "--checks", checks], capture_output=True, text=True, timeout=900, cwd=folder.parent)
        assert done.returncode == 0, done.stdout[-6000:]
        assert int(re.search(r"(\d+) generated", done.stdout)[1]) >= 2000
        assert server.process.poll() is None


def test_new_users_wait_while_the_rest_of_a_model_is_made_and_known_users_do_not():
    from ultragcn.serving.messages import ListQuestion
    from ultragcn.serving.worker import LISTS, Worker

    class Quick:
        id = "quick-1"

        def lists(self, questions):
            return [Answer([], False, self.id) for _ in questions]

    async def ask():
        worker = Worker(Quick(), asyncio.get_running_loop())
        worker.is_warming = True
        known = worker.ask(LISTS, ListQuestion(user="a"))
        new = worker.ask("new user", ListQuestion(items=["x"]))
        assert (await asyncio.wait_for(known, 10)).status == 200
        await asyncio.sleep(0.2)
        assert not new.done()
        worker.warmed()
        assert (await asyncio.wait_for(new, 10)).status == 200
        worker.stop()

    from ultragcn.serving.messages import Answer

    asyncio.run(ask())


def test_while_kernels_are_compiled_new_users_are_refused_at_once_and_known_users_are_not():
    from ultragcn.serving.messages import Answer, Batch, ListQuestion
    from ultragcn.serving.worker import BATCH, COMPILING, LISTS, BusyError, Worker

    class Quick:
        id = "quick-1"

        def lists(self, questions):
            return [Answer([], False, self.id) for _ in questions]

    async def ask():
        worker = Worker(Quick(), asyncio.get_running_loop())
        try:
            worker.is_warming = True
            new = ListQuestion(items=["x"])
            waits = worker.ask("new user", new)
            await asyncio.sleep(0.1)
            worker.compiles()
            refused = await asyncio.wait_for(waits, 5)
            assert (refused.status, refused.error, refused.seconds) == (503, COMPILING, 5)
            for kind, question in (("new user", new), ("similar", None), (BATCH, Batch([ListQuestion(user="a"), new]))):
                with pytest.raises(BusyError, match="kernels are being compiled, once; ask again in 5 seconds"):
                    worker.ask(kind, question)
            known = ListQuestion(user="a")
            assert (await asyncio.wait_for(worker.ask(LISTS, known), 10)).status == 200
            assert (await asyncio.wait_for(worker.ask(BATCH, Batch([known, known])), 10)).status == 200
            worker.warmed()
            assert (await asyncio.wait_for(worker.ask("new user", new), 10)).status == 200
        finally:
            worker.stop()

    asyncio.run(ask())


def test_the_server_is_ready_once_every_question_is_answered(folder):
    from ultragcn.serving.application import Application, Settings

    class Warming:
        is_warming = True

    made = Application(Warming(), Settings(), None, None)
    assert made._ready()[0] == 503
    assert made._ready()[1].status == "starting"
    Warming.is_warming = False
    assert made._ready()[0] == 200


@pytest.mark.slow
def test_with_no_kernel_compiled_known_users_are_answered_and_others_get_503_until_the_server_is_ready(folder, tmp_path):
    first = []

    def tries(server):
        with httpx.Client(base_url=server.url, timeout=60) as client:
            started = time.monotonic()
            new = client.post("/recommend", json={"items": ["Quiet River (jazz)"]})
            seconds = time.monotonic() - started
            first.append((client.get("/health/ready"), client.get("/recommend/user-0001"), new, seconds))

    with serving(folder, "--most_wait", "5000", once=tries, NUMBA_CACHE_DIR=str(tmp_path)) as server:
        [(ready, known, new, seconds)] = first
        assert (ready.status_code, ready.headers["retry-after"], ready.json()) == (503, "1", {"status": "starting"})
        assert known.status_code == 200
        assert (new.status_code, new.headers["retry-after"]) == (503, "5")
        assert new.json()["error"] == "kernels are being compiled, once; ask again in 5 seconds"
        assert seconds < 5
        kernels = {*tmp_path.rglob("*.nbc")}
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for body in ({"items": ["Quiet River (jazz)"], "explain": True, "diversity": 0.5}, {"user": "user-0001", "exclude": ["x"]}):
                assert client.post("/recommend", json=body).status_code == 200
            assert client.get("/similar/Quiet River (jazz)").status_code == 200
        assert {*tmp_path.rglob("*.nbc")} == kernels
        time.sleep(0.5)
        lines = server.lines()
    assert any("ultragcn: compiling the kernels" in line for line in lines)
    events = [json.loads(line).get("event", "") for line in lines if line.startswith("{")]
    assert any(event.startswith("kernels are being compiled") for event in events)
    assert any(event.startswith("all kernels are compiled") for event in events)


def test_each_line_of_stderr_is_json_once_the_server_answers(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    table = tmp_path / "items.csv"
    table.write_text("item_id,price\nQuiet River (jazz),3\n")
    with serving(run, "--items_table", table, "--admin_port", "0") as server:
        before = len(server.lines())
        assert httpx.post(f"{server.admin}/admin/reload", timeout=60).status_code == 200
        time.sleep(0.5)
        lines = server.lines()
    begun = next(number for number, line in enumerate(lines) if "/admin/reload loads" in line)
    events = [json.loads(line) for line in lines[begun + 1 :]]
    [warning] = [one["warning"] for one in events if one.get("event") == "warning"]
    assert "items are not in the items table" in warning
    assert before < len(lines)
