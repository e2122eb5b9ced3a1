"""``lift webhooks`` as people and the supervisor use it; the deliverer is a process that may be killed."""

import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lift_core.cli.webhooks import webhooks
from lift_core.errors import LiftError, NotFoundError
from lift_core.settings import get_settings
from lift_core.stack.processes import wait_until

PATIENCE_SECONDS = 60
LIFT = (sys.executable, "-m", "lift_core.cli", "webhooks")


@pytest.fixture
def lift(hooks, stack_home, monkeypatch):
    """Call ``lift webhooks …`` in this process; what it prints, or the error that it raises."""
    for name in [each for each in os.environ if each.startswith("LIFT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIFT_HOME", str(stack_home))
    get_settings.cache_clear()

    def call(*words, stdin=None):
        result = CliRunner().invoke(webhooks, [str(word) for word in words], input=stdin)
        if isinstance(result.exception, LiftError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    yield call
    get_settings.cache_clear()


@pytest.fixture
def deliverer(environment):
    """Start ``lift webhooks deliver`` in a process of its own."""
    started = []

    def start():
        started.append(
            subprocess.Popen([*LIFT, "deliver"], env=environment, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


# --- commands -------------------------------------------------------------------------------


def test_a_secret_is_shown_when_it_is_made_and_never_again(lift, receiver, registry, deliver):
    made = json.loads(lift("add", receiver.url, "--kind", "job.done", "--kind", "adapter.*", "--json"))
    assert (made["url"], made["kinds"], made["active"]) == (receiver.url, ["adapter.*", "job.done"], True)
    assert made["secret"].startswith("whsec_")
    registry.record_event("job.done", "run-1")
    shown = [
        lift("ls"),
        lift("ls", "--json"),
        lift("show", made["id"]),
        lift("show", made["id"], "--json"),
        lift("test", made["id"]),
        lift("redeliver", made["id"], registry.events("run-1")[0].id),
    ]
    assert not any(made["secret"] in each for each in shown)
    assert lift("add", f"{receiver.url}/2").count("whsec_") == 1


def test_an_own_secret_comes_from_a_file_or_stdin(lift, receiver, tmp_path):
    secret = "whsec_" + "b" * 48
    (tmp_path / "secret").write_text(f"{secret}\n")
    made = json.loads(lift("add", receiver.url, "--secret-file", tmp_path / "secret", "--json"))
    assert made["secret"] == secret
    made = json.loads(lift("add", f"{receiver.url}/2", "--secret-file", "-", "--json", stdin=secret))
    assert made["secret"] == secret
    with pytest.raises(LiftError, match="24 to 64") as refused:
        lift("add", f"{receiver.url}/3", "--secret-file", "-", stdin="whsec_tooshort")
    assert "tooshort" not in str(refused.value)


def test_plain_http_beyond_this_machine_takes_a_word(lift):
    with pytest.raises(LiftError, match="--insecure"):
        lift("add", "http://example.com/lift")
    assert "all events" in lift("add", "http://example.com/lift", "--insecure")


def test_show_tells_what_was_delivered_and_why_something_was_not(lift, registry, receiver, add, deliver):
    webhook = add(receiver)
    receiver.answer = lambda found: 500 if found.subject == "run-2" else 200
    for subject in ("run-1", "run-2"):
        registry.record_event("job.done", subject)
    deliver()
    shown = json.loads(lift("show", webhook, "--json"))
    assert (shown["waiting"], shown["given_up"]) == (1, 0)
    told = [(each["subject"], each["state"], each["last_error"]) for each in shown["deliveries"]]
    assert told == [("run-2", "waiting", "HTTP 500"), ("run-1", "delivered", None)]
    assert len(json.loads(lift("show", webhook, "--limit", 1, "--json"))["deliveries"]) == 1
    assert "1 waiting" in lift("show", webhook)
    [listed] = json.loads(lift("ls", "--json"))
    assert listed == {name: value for name, value in shown.items() if name != "deliveries"}


def test_a_test_event_is_signed_and_its_answer_told(lift, receiver, add, sql):
    webhook = add(receiver)
    assert "HTTP 200" in lift("test", webhook)
    [found] = receiver.received
    assert (found.signed, found.kind, found.subject) == (True, "webhook.test", f"webhook-{webhook}")
    receiver.answer = lambda _: (403, {}, b"who are you?")
    with pytest.raises(LiftError, match=r"did not take the test event: HTTP 403: who are you\?"):
        lift("test", webhook)
    assert sql("SELECT count(*) FROM deliveries") == [(0,)], "a test leaves no trace in the registry"


def test_rm_forgets_a_webhook(lift, receiver, add):
    webhook = add(receiver)
    lift("rm", webhook)
    assert json.loads(lift("ls", "--json")) == []
    with pytest.raises(NotFoundError, match="lift webhooks ls"):
        lift("rm", webhook)


# --- the deliverer's process ----------------------------------------------------------------


def test_the_deliverer_delivers_what_comes_and_ends_cleanly_on_term(registry, receiver, add, deliverer):
    add(receiver)
    registry.record_event("job.done", "run-1")
    process = deliverer()
    assert wait_until(lambda: receiver.subjects == ["run-1"], PATIENCE_SECONDS)
    registry.record_event("job.failed", "run-2")
    assert wait_until(lambda: receiver.subjects == ["run-1", "run-2"], PATIENCE_SECONDS)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    lines = [line for line in said.splitlines() if line.strip()]
    assert [("job.done" in line, "run-1" in line, "delivered" in line) for line in lines[:1]] == [(True,) * 3]
    assert len(lines) == 2
    assert "whsec_" not in said


def test_a_deliverer_that_is_killed_before_it_heard_the_answer_loses_nothing(
    registry, hooks, receiver, add, deliverer, time_passes
):
    """It is killed by the receiver, at some of the requests, before they are answered."""
    webhook = add(receiver)
    subjects = [f"run-{number}" for number in range(12)]
    for subject in subjects:
        registry.record_event("job.done", subject)
    killed_at = {1, 4, 9}
    processes = []

    def answer(_):
        if len(receiver.received) in killed_at:
            processes[-1].kill()
            processes[-1].wait()
        return 200

    receiver.answer = answer
    for _ in range(len(killed_at)):
        processes.append(deliverer())
        assert processes[-1].wait(PATIENCE_SECONDS) == -signal.SIGKILL
        time_passes()
    processes.append(deliverer())
    assert wait_until(lambda: hooks.webhook(webhook).waiting == 0, PATIENCE_SECONDS)
    # What was under way when the deliverer was killed came again at once, under the same id; nothing
    # came out of order, and nothing else twice.
    expected = [subject for subject in subjects for _ in range(1 + (subject in ("run-0", "run-2", "run-6")))]
    assert receiver.subjects == expected
    messages = {}
    for each in receiver.received:
        messages.setdefault(each.id, set()).add(each.raw)
    assert len(messages) == len(subjects)
    assert all(len(bodies) == 1 for bodies in messages.values())


def test_a_deliverer_that_is_told_to_end_finishes_what_is_under_way(
    registry, hooks, receiver, add, deliverer
):
    webhook = add(receiver)
    processes = []

    def answer(_):
        processes[0].send_signal(signal.SIGTERM)
        # It is given time to die of the signal, which it must not.
        assert not wait_until(lambda: processes[0].poll() is not None, 1)
        return 200

    receiver.answer = answer
    registry.record_event("job.done", "run-1")
    processes.append(deliverer())
    _, said = processes[0].communicate(timeout=PATIENCE_SECONDS)
    assert processes[0].returncode == 0, said
    [told] = hooks.deliveries(webhook)
    assert (told.state, told.attempts) == ("delivered", 1)
