"""Endpoints: how they are written, that no key is ever kept, and what their replies become."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.azure.faults import AzureError
from core.pipes import Cancelled
from core.serving import endpoint_client, trash
from core.serving.endpoint import Connection, Endpoint, EndpointError, connect, is_endpoint, parse
from core.serving.endpoint_client import MAX_MESSAGE, replies, reply
from core.serving.reply import Made, Refusal, Sampling
from tests.core.serving.answering import Answering, answering
from tests.tui.made_deployments import make_deployment

ASK = [{"role": "user", "content": "hello"}]
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as said:
        yield said


def at(said: Answering, key: str = "") -> Connection:
    return Connection("tiny at test", said.url, "tiny", key)


def whole(connection: Connection, sampling: Sampling = Sampling()) -> tuple[list[str], Made]:  # noqa: B008 - frozen
    pieces: list[str] = []
    work = reply(connection, ASK, sampling, lambda: None)
    while True:
        try:
            pieces.append(next(work))
        except StopIteration as end:
            return pieces, end.value


# how they are written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deployment:mine/tuned@20", Endpoint("deployment", "mine", "tuned@20")),
        ("deployment:mine", Endpoint("deployment", "mine")),
        ("azure:phi-4-x,in=0.5,out=1.5", Endpoint("azure", "phi-4-x", "", "", 0.5, 1.5)),
        ("https://h.example/v1#org/m,key=MY_KEY", Endpoint("address", "https://h.example/v1", "org/m", "MY_KEY")),
        ("http://127.0.0.1:8000/v1#m,in=0", Endpoint("address", "http://127.0.0.1:8000/v1", "m", "", 0.0)),
        ("http://[::1]:8000/v1#m,key=K", Endpoint("address", "http://[::1]:8000/v1", "m", "K")),
    ],
)  # fmt: skip
def test_what_is_written_is_read_and_written_again(text: str, expected: Endpoint) -> None:
    assert is_endpoint(text)
    assert parse(text) == expected
    assert parse(expected.spec) == expected


@pytest.mark.parametrize("text", ["my run", "my-run@20", "my-run@base", "support v1.2"])
def test_a_run_is_not_taken_for_an_endpoint(text: str) -> None:
    assert not is_endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "deployment:",
        "deployment:a/",
        "deployment:../x",
        "azure:x,key=K",
        "https://h/v1",
        "https:///v1#m",
        "https://h:x/v1#m",
        "https://h/v1#m,in=-1",
        "https://h/v1#m,in=nan",
        "https://h/v1#m,in=1,in=2",
        "https://h/v1#m m",
        "https://h/\x1b[31m#m",
        "http://h.example/v1#m,key=K",
    ],
)
def test_wrong_ones_are_refused_with_a_next_step(text: str) -> None:
    with pytest.raises(EndpointError) as refused:
        parse(text)
    assert refused.value.next_step


@pytest.mark.parametrize(
    "text", [f"https://h/v1#m,key={KEY}", f"https://u:{KEY}@h/v1#m", f"https://h/v1?key={KEY}#m"]
)
def test_a_key_in_the_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(EndpointError) as refused:
        parse(text)
    assert KEY not in str(refused.value)
    assert "export MY_KEY" in refused.value.next_step or "variable" in refused.value.next_step


def test_the_key_comes_from_the_environment_and_stays_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    here = parse("https://h/v1#m,key=MY_KEY")
    with pytest.raises(EndpointError, match="MY_KEY is not set"):
        connect(here)
    monkeypatch.setenv("MY_KEY", KEY)
    connection = connect(here)
    assert connection.key == KEY
    assert KEY not in repr(connection) + here.spec + repr(here) + str(here.request())


def test_cost_is_known_only_when_everything_is() -> None:
    priced = parse("azure:x,in=0.5,out=2")
    assert priced.cost_usd(1000, 500) == pytest.approx(0.0015)
    assert priced.cost_usd(None, 500) is None
    assert parse("azure:x,in=0.5").cost_usd(1000, 500) is None


# replies


def test_a_reply_is_streamed_with_its_figures(server: Answering) -> None:
    pieces, made = whole(at(server, KEY), Sampling(0.7, 0.9, 64, 7, ("END",)))
    assert pieces == ["Hel", "lo", " é"]
    assert (made.text, made.tokens, made.prompt_tokens, made.ended) == ("Hello é", 3, 11, "turn end")
    assert 0 < made.first_token_ms <= made.seconds * 1000
    headers, body = server.asked[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    asked = {name: body[name] for name in ("temperature", "top_p", "max_tokens", "seed", "stop", "model")}
    assert asked == {
        "temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "seed": 7, "stop": ["END"], "model": "tiny",
    }  # fmt: skip


def test_without_a_key_none_is_sent_and_nothing_of_the_environment(
    server: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    whole(at(server))
    headers, body = server.asked[0]
    assert KEY not in str(headers)
    assert "authorization" not in headers
    assert not {"seed", "top_p", "stop"} & set(body)  # greedy, all of it a server's own default


def test_a_deployment_is_reached_by_its_socket(tmp_path: Path) -> None:
    with answering(tmp_path / "s") as said:
        _, made = whole(Connection("mine", "http://finetui/v1", "tuned", "", tmp_path / "s"))
    assert made.text == "Hello é"
    assert "authorization" not in said.asked[0][0]


def test_what_a_server_does_not_say_is_unknown(server: Answering) -> None:
    server.usage = None
    _, made = whole(at(server))
    assert made.tokens is made.prompt_tokens is made.tokens_per_s is None


@pytest.mark.parametrize(
    ("finish", "ended"), [("length", "length"), ("content_filter", "blocked"), ("", "cut off")]
)
def test_how_it_ended_is_told(server: Answering, finish: str, ended: str) -> None:
    server.finish = finish
    assert whole(at(server))[1].ended == ended


def test_older_and_newer_servers_are_asked_in_their_own_words(server: Answering) -> None:
    server.rude = {
        "stream_options": "Unknown field: stream_options",
        "max_tokens": "Unsupported parameter: use 'max_completion_tokens' instead.",
    }
    _, made = whole(at(server), Sampling(max_tokens=9))
    assert made.text == "Hello é" and made.tokens is None
    assert len(server.asked) == 3
    assert server.asked[-1][1]["max_completion_tokens"] == 9


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_refusal_names_the_cause_without_the_key(server: Answering, status: int) -> None:
    server.status = status
    server.error = {"error": {"message": f"No: {KEY} \x1b[31m" + "x" * 2000}}
    with pytest.raises(EndpointError) as refused:
        whole(at(server, KEY))
    assert f"({status})" in refused.value.what
    assert refused.value.cause.startswith("No: [key]")
    assert len(refused.value.cause) <= MAX_MESSAGE + 3
    assert refused.value.next_step
    assert len(server.asked) == 1  # no hidden second try
    assert KEY not in "".join(map(str, (refused.value, refused.value.__cause__)))


def test_nobody_there_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    for connection in (
        Connection("gone", "http://127.0.0.1:1/v1", "m", ""),
        Connection("gone", "http://finetui/v1", "m", "", tmp_path / "none"),
    ):
        with pytest.raises(EndpointError, match="can't be reached") as refused:
            whole(connection)
        assert refused.value.next_step


def test_a_stream_of_something_else_breaks_off_or_says_nothing(server: Answering) -> None:
    server.junk = "{no"
    with pytest.raises(EndpointError, match="broke off") as refused:
        whole(at(server))
    assert refused.value.next_step
    server.junk = '{"choices": [{"delta": {"content": "a\\ud800b"}}]}'
    assert whole(at(server))[1].text == "a?b"
    server.junk = '{"choices": 3, "usage": "x"}'
    _, made = whole(at(server))
    assert (made.text, made.tokens, made.ended) == ("", None, "cut off")


def test_an_endless_reply_is_not_read_to_its_end(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_client, "MAX_CHARACTERS", 1000)
    server.pieces[""] = ["x" * 300] * 100_000
    _, made = whole(at(server))
    assert len(made.text) == 1000
    assert server.broken.wait(10)


def test_a_reply_that_nobody_waits_for_is_given_up_and_its_connection_closed(server: Answering) -> None:
    server.gate.clear()
    server.pieces[""] = ["a"] * 100_000
    given_up = threading.Event()

    def check() -> None:
        if given_up.is_set():
            raise Cancelled

    work = reply(at(server), ASK, Sampling(), check)
    assert next(work) == "a"
    given_up.set()
    with pytest.raises(Cancelled):
        next(work)
    server.gate.set()
    assert server.broken.wait(10)


def test_many_are_asked_at_once_and_each_reply_belongs_to_its_question(server: Answering) -> None:
    server.pieces = {str(number): [f"re{number}"] for number in range(20)}
    asked = [[{"role": "user", "content": str(number)}] for number in range(20)]
    found = dict(replies(at(server), asked, Sampling(), 4, lambda: None))
    texts = {number: made.text for number, made in found.items() if isinstance(made, Made)}
    assert texts == {n: f"re{n}" for n in range(20)}


def test_a_deployment_that_was_removed_or_stopped_meanwhile_is_said_so(tmp_path: Path) -> None:
    here = Connection("a at lan", "http://finetui/v1", "a", "", tmp_path / "gone", deployment="lan")
    directory = make_deployment("lan")
    with pytest.raises(EndpointError, match="The deployment lan is stopped") as refused:
        whole(here)
    assert "finetui deployments start lan" in refused.value.next_step
    trash.remove("lan")
    with pytest.raises(EndpointError, match="The deployment lan was removed") as refused:
        whole(here)
    assert not directory.exists() and "finetui deployments restore lan" in refused.value.next_step


def test_of_many_a_refused_prompt_leaves_the_others(server: Answering) -> None:
    server.pieces = {"": ["yes"]}
    server.blocks = {
        "1": ("content_filter", f"Blocked {KEY}."),
        "2": ("context_length_exceeded", "Too long."),
    }
    asked = [[{"role": "user", "content": str(number)}] for number in range(4)]
    found = dict(replies(at(server, KEY), asked, Sampling(), 2, lambda: None))
    assert (found[1], found[2]) == (Refusal("Blocked [key].", True), Refusal("Too long.", False))
    assert [made.text for made in (found[0], found[3]) if isinstance(made, Made)] == ["yes", "yes"]


def test_of_many_a_failure_ends_all(server: Answering) -> None:
    server.status = 401
    with pytest.raises(EndpointError, match="401"):
        list(replies(at(server), [ASK] * 8, Sampling(), 2, lambda: None))


def test_an_azure_endpoint_is_asked_for_its_address_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.azure import endpoints

    monkeypatch.setattr(endpoints, "connection", lambda name, _: (f"https://{name}.example/v1", KEY))
    found = connect(parse("azure:phi"))
    assert (found.base_url, found.key, found.model) == ("https://phi.example/v1", KEY, "phi")
    assert connect(parse("azure:phi/Phi-4")).model == "Phi-4"
    assert found.renewed is not None
    assert found.renewed() == KEY


@pytest.mark.parametrize("there", [False, True])
def test_an_azure_endpoint_that_was_deleted_meanwhile_is_said_to_be_gone(
    server: Answering, there: bool
) -> None:
    def renewed() -> str:
        if there:
            return KEY
        raise AzureError("There is no endpoint ep1 in project-one.", status=404)

    server.status = 404
    with pytest.raises(EndpointError) as refused:
        whole(Connection("Phi-4 at ep1", server.url, "tiny", KEY, renewed=renewed))
    assert (refused.value.what == "The endpoint azure:ep1 is gone.") is not there
    assert ("/v1" in refused.value.next_step) is there


def test_a_key_that_was_changed_since_is_fetched_anew_once(server: Answering) -> None:
    server.status = 401
    fetched: list[str] = []

    def renewed() -> str:
        fetched.append(f"key-{len(fetched)}")
        if len(fetched) == 2:
            server.status = 200
        return fetched[-1]

    connection = Connection("phi", server.url, "tiny", "old", renewed=renewed)
    with pytest.raises(EndpointError, match="401") as refused:
        whole(connection)
    assert fetched == ["key-0"]
    assert "environment variable" not in refused.value.next_step
    assert whole(connection)[1].text == "Hello é"
    whole(connection)
    assert fetched == ["key-0", "key-1"]
    sent = [headers["authorization"] for headers, _ in server.asked]
    assert sent == [f"Bearer {key}" for key in ("old", "key-0", "key-0", "key-1", "key-1")]


def test_a_deployment_must_run_and_have_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from core.serving import deployments

    def model(name: str, chat: bool = True) -> SimpleNamespace:
        return SimpleNamespace(name=name, chat=chat)

    here = SimpleNamespace(
        name="mine", running=True, state="healthy", reason="", socket=tmp_path / "s",
        models=(model("plain", False), model("tuned"), model("base")),
    )  # fmt: skip
    monkeypatch.setattr(deployments, "find", lambda name: here)
    assert connect(parse("deployment:mine")).model == "tuned"
    assert connect(parse("deployment:mine/base")).socket == tmp_path / "s"
    with pytest.raises(EndpointError, match="no model 'plain'"):
        connect(parse("deployment:mine/plain"))
    here.running, here.state = False, "stopped"
    with pytest.raises(EndpointError, match="is stopped") as refused:
        connect(parse("deployment:mine"))
    assert "finetui deployments start mine" in refused.value.next_step
