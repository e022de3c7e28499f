"""docs/serving.md and its files are true: every example is run, every number is that of the code, every option exists."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import serving
from ultragcn import UltraGCN, load_dataset
from ultragcn.cli import main
from ultragcn.cli import serve as command
from ultragcn.errors import UsageError

pytest.importorskip("uvicorn", reason="needs what ultragcn serve needs: pip install -r requirements-dev.txt")

from ultragcn.serving import application, connections, messages, openapi, server, worker
from ultragcn.serving.observing import Metrics
from ultragcn.serving.routes import ROUTES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
UNIT = (ROOT / "docs/serving/ultragcn.service").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "docs/serving/Dockerfile").read_text(encoding="utf-8")
NGINX = (ROOT / "docs/serving/nginx.conf").read_text(encoding="utf-8")
CURLS = re.findall(r"^    (curl .*?)(?:  +#.*)?\n(?:\n```json\n(.*?)^```)?", PAGE, re.M | re.S)
KEY = "a-key-of-more-than-16-signs"


def section(title):
    """The text of a section of the page."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title):
    """The first two cells of each row of the tables of a section."""
    return [row for row in re.findall(r"^\| (.+?) \| (.+?) \|", section(title), re.M) if not set(row[1]) <= set("-")]


@pytest.fixture(scope="module")
def options():
    """The options of ultragcn serve."""
    done = subprocess.run([sys.executable, "-m", "ultragcn", "serve", "--help"], capture_output=True, text=True, cwd=ROOT / "src")
    assert done.returncode == 0
    return set(re.findall(r"--\w+", done.stdout))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A server of what --demo serves."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    command._train_demo(folder)
    with serving(folder, "--most_wait", "5000") as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with a model whose users are numbers, an items table, a file of rules and a key."""
    folder = tmp_path_factory.mktemp("shop")
    pairs = [f"{user},{(user + 7 * step) % 30}" for user in range(40) for step in range(9)]
    (folder / "log.csv").write_text("\n".join(["user,item", *pairs]))
    (folder / "items.csv").write_text("\n".join(["item_id,price,brand", *(f"{item},{item},b{item % 7}" for item in range(30))]))
    data = load_dataset(folder / "log.csv", items_table=folder / "items.csv")
    UltraGCN(embedding_dim=4, epochs=2, seed=0).fit(data).save(folder / "run")
    (folder / "rules.toml").write_text('[cheap]\nwhere = "price < {price}"\n[cheap.values]\nprice = 5\n')
    (folder / "key").write_text(KEY + "\n")
    return folder


@pytest.fixture(scope="module")
def ruled(shop):
    """A server of it with rules, which can be told to reload."""
    with serving(shop / "run", "--rules", shop / "rules.toml", "--admin_port", "0", "--most_wait", "5000") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(shop):
    """A server of it with a key and a host name."""
    words = ("--key_file", shop / "key", "--allowed_hosts", "shop.example.com", "--most_wait", "5000")
    with serving(shop / "run", *words) as running:
        yield running


def port_of(url):
    return url.rpartition(":")[2]


def same(shown, real, where=""):
    """Whether an answer is as it is shown; scores may differ a little, and models by their checksum."""
    if isinstance(shown, dict):
        assert shown.keys() == real.keys(), where
        for name, value in shown.items():
            if name == "model":
                assert value.partition("-")[0] == real[name].partition("-")[0]
            elif name != "request_id":
                same(value, real[name], f"{where}.{name}")
    elif isinstance(shown, list):
        assert len(shown) == len(real), where
        for number, pair in enumerate(zip(shown, real, strict=True)):
            same(*pair, f"{where}[{number}]")
    elif isinstance(shown, float):
        assert real == pytest.approx(shown, rel=0.01), where
    else:
        assert real == shown, where


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
@pytest.mark.parametrize(("line", "shown"), CURLS)
def test_every_curl_example_answers_what_the_page_shows(line, shown, request, shop):
    assert len(CURLS) >= 7
    if "Authorization" in line:
        port = port_of(request.getfixturevalue("guarded").url)
        line = line.replace(":8000", f":{port}") + f" --resolve shop.example.com:{port}:127.0.0.1"
    elif "/admin/reload" in line:
        line = line.replace(":8001", f":{port_of(request.getfixturevalue('ruled').admin)}")
    else:
        chosen = "ruled" if "rule=" in line else "demo"
        line = line.replace(":8000", f":{port_of(request.getfixturevalue(chosen).url)}")
    done = subprocess.run(["bash", "-c", f"{line} -sS -w '\\n%{{http_code}}'"], capture_output=True, text=True, cwd=shop, timeout=60)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    assert status == ("404" if "nobody" in line else "200"), body
    if shown:
        same(json.loads(shown), json.loads(body))
    elif "rule=" in line:
        items = json.loads(body)["items"]
        assert len(items) > 0
        assert all(one["item"] < 20 for one in items)


def test_the_python_example_runs_as_it_stands(demo, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    exec(code.replace(":8000", f":{port_of(demo.url)}"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("user-0001 [")
    assert first.endswith("] False")
    assert second.endswith("] True")


def test_every_limit_is_the_number_in_the_code():
    limits = {
        "bytes of a body": application.BODY_BYTES,
        "bytes of the request line and headers": connections.HEAD_BYTES,
        "items of a list (`k`)": messages.MOST_ITEMS,
        "ids in a list of a request": messages.MOST_IDS,
        "questions in a batch": messages.MOST_QUESTIONS,
        "characters of an id, a name or a text": messages.MOST_CHARACTERS,
        "connections; above it, idle ones are closed": connections.MOST_CONNECTIONS,
        "seconds in which a request must arrive, and a part of an answer be taken": connections.SECONDS,
        "seconds that a connection waits for its next request": server.KEEP_ALIVE,
        "milliseconds of work that may wait (`--most_wait`)": 1000 * server.Options.most_wait,
        "lists that may wait whatever they take": worker._ALWAYS_TAKEN,
        "seconds in which requests that have begun are answered at the end": server.DRAIN,
    }
    shown = {name: float(number.replace(",", "")) for name, number in rows("Limits") if name != "limit"}
    assert shown == limits
    assert f"`Retry-After: {application.RETRY_AFTER}`" in section("Limits")
    assert f"at least {command._LEAST_KEY} characters" in section("Who may ask")


def test_every_route_status_and_metric_stands_on_the_page_and_no_other():
    named = set(re.findall(r"`((?:GET|POST) /[^`]*)`", section("Routes")))
    others = {"GET /metrics", "GET /openapi.json", "GET /health/live", "GET /health/ready", "GET /"}
    # POST /recommend is named again, where the batch is explained.
    assert named == {f"{route.method} {route.path}" for route in ROUTES} | others
    statuses = {int(status) for cell, _ in rows("Routes") for status in re.findall(r"\b\d{3}\b", cell)}
    assert statuses == {*openapi._SAYS, 431}
    assert connections.closing(431, "x").startswith(b"HTTP/1.1 431 ")
    metrics = Metrics()
    metrics.count("GET /popular", 200, 0.1, True)
    metrics.reloaded("done", "one")
    families = {line.split()[2] for line in metrics.text().decode().splitlines() if line.startswith("# TYPE")}
    shown = set(re.findall(r"`(ultragcn_\w+)`", section("Health, log and metrics")))
    assert shown == {name for name in families if not name.endswith("_created")}


def test_every_option_that_the_page_names_exists(options):
    for line in re.findall(r"ultragcn serve .*", PAGE):
        for option in re.findall(r"--\w+", line):
            assert option in options, line
    for option in re.findall(r"`(--\w+)`", PAGE):
        assert option in options


def test_the_log_line_on_the_page_has_the_fields_of_a_real_one(demo):
    (shown,) = re.findall(r'^\{"time".*\}$', PAGE, re.M)
    real = next(line for line in reversed(demo.lines()) if '"GET /' in line)
    assert list(json.loads(shown)) == list(json.loads(real))


# ---------------------------------------------------------------------- files


def directives():
    """The lines of the unit, as sections of names and values."""
    found, name = {}, None
    for line in UNIT.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            found.setdefault(name, []).append((key, value))
    return found


def test_the_unit_starts_the_command_with_options_that_exist_and_gives_it_time_to_end(options):
    found = directives()
    assert set(found) == {"Unit", "Service", "Install"}
    service = dict(found["Service"])
    words = service["ExecStart"].split()
    assert words[:2] == ["/opt/ultragcn/bin/ultragcn", "serve"]
    assert {word for word in words if word.startswith("--")} <= options
    assert service["LoadCredential"].split(":")[0] == words[words.index("--key_file") + 1].removeprefix("%d/") == "key"
    assert "-HUP" in service["ExecReload"]
    assert int(service["TimeoutStopSec"]) > server.DRAIN
    assert int(service["LimitNOFILE"]) > 2 * connections.MOST_CONNECTIONS
    assert "MemoryDenyWriteExecute" not in service
    assert service["CapabilityBoundingSet"] == ""
    assert service["RestartPreventExitStatus"] == str(UsageError.exit_status) != str(server.AddressInUseError.exit_status)
    assert {service[name] for name in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictNamespaces")} == {"yes"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_to_say_about_the_unit_and_calls_it_safe(tmp_path):
    file = tmp_path / "ultragcn.service"
    file.write_text(UNIT.replace("/opt/ultragcn/bin/ultragcn", "/bin/echo"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)], capture_output=True, text=True)
    exposure = re.search(r"Overall exposure level for ultragcn.service: ([\d.]+)", done.stdout)
    if exposure is None:
        pytest.skip(f"this systemd cannot look at a file: {done.stderr}")
    assert float(exposure[1]) <= 1.5


def instructions():
    """The instructions of the Dockerfile, one a line, without comments."""
    text = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    lines = [line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_the_image_is_made_of_what_there_is_and_runs_the_command_as_somebody_without_rights(options):
    made = instructions()
    assert {name for name, _ in made} <= {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}
    copied = [word for name, rest in made if name == "COPY" and not rest.startswith("--from") for word in rest.split()[:-1]]
    for path in copied:
        assert (ROOT / path).exists(), path
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {"pyproject.toml", "README.md", "LICENSE", "configs", "src/ultragcn"} <= set(copied)
    assert 'readme = "README.md"' in project
    assert '"configs" = "ultragcn/configs"' in project
    (installing,) = (rest for name, rest in made if name == "RUN" and "pip install" in rest)
    assert '".[serve]"' in installing
    assert re.search(r"^serve = \[", project, re.M)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--compile", "--help"])
    assert ended.value.code == 0
    assert installing.endswith("ultragcn doctor --compile")
    last = max(number for number, (name, _) in enumerate(made) if name == "FROM")
    (user,) = (rest for name, rest in made[last:] if name == "USER")
    assert int(user.split(":")[0]) >= 1000
    (entry,) = (json.loads(rest) for name, rest in made if name == "ENTRYPOINT")
    assert entry[:2] == ["ultragcn", "serve"]
    assert {word for word in entry if word.startswith("--")} <= options
    assert entry[entry.index("--port") + 1] == dict(made)["EXPOSE"]


def test_the_health_check_of_the_image_fails_where_nobody_answers(demo, tmp_path):
    (check,) = (rest for name, rest in instructions() if name == "HEALTHCHECK")
    name, flag, code = json.loads(check.partition("CMD ")[2])
    assert (name, flag) == ("python", "-c")
    for port, status in ((port_of(demo.url), 0), ("9", 1)):
        done = subprocess.run([sys.executable, "-c", code.replace(":8000", f":{port}")], capture_output=True, cwd=tmp_path)
        assert done.returncode == status


def test_the_proxy_has_the_limits_of_the_server(tmp_path):
    def value(name):
        return [line.split(maxsplit=1)[1] for line in re.findall(rf"^\s*({name} .*);$", NGINX, re.M)]

    assert value("client_max_body_size") == [str(application.BODY_BYTES)]
    assert value("client_body_timeout") == [f"{connections.SECONDS:g}s"]
    assert int(value("keepalive_timeout")[0].removesuffix("s")) < server.KEEP_ALIVE
    assert int(value("proxy_read_timeout")[0].removesuffix("s")) > 10
    assert set(value("proxy_http_version")) == {"1.1"}
    assert NGINX.count("{") == NGINX.count("}")
    if shutil.which("nginx") is None:
        pytest.skip("needs nginx for the rest")
    site = re.sub(r"\n *ssl_certificate.*", "", NGINX.replace("443 ssl", "8443"))
    (tmp_path / "site.conf").write_text(site)
    places = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    whole = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {places} include {tmp_path}/site.conf; }}"
    (tmp_path / "nginx.conf").write_text(whole)
    done = subprocess.run(["nginx", "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
