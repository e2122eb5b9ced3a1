"""One POST: where it may go, how long it may take, and what the receiver's answer means."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from contextlib import contextmanager, suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from lift_core.delivery import Message, Sender
from lift_core.registry.webhooks import WebhookTarget

SECRET = SecretStr("whsec_" + "a" * 32)
MESSAGE = Message("evt_1_1", b'{"type":"job.done"}')


def send(url, seconds=20.0):
    async def run():
        async with Sender(seconds) as sender:
            return await sender.send(WebhookTarget(id=1, url=url, secret=SECRET), MESSAGE)

    return asyncio.run(run())


@contextmanager
def speaking(talk, context=None):
    """A server that calls ``talk`` with each connection; its port, and what it was sent."""
    heard = []

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), plain:
                connection = context.wrap_socket(plain, server_side=True) if context else plain
                heard.append(connection.recv(65536))
                talk(connection)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def saying(text):
    return lambda connection: connection.sendall(text.encode())


@pytest.fixture
def resolve(monkeypatch):
    """Let names resolve to addresses of the test's choice."""
    names = {}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **more):
        found = [real(address, port, *args, **more) for address in names.get(host, [host])]
        return [each for several in found for each in several]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


# --- answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content"])
def test_any_2xx_takes_the_message(status):
    with speaking(saying(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")) as (port, _):
        answer = send(f"http://127.0.0.1:{port}/")
    assert (answer.taken, answer.status, answer.gone) == (True, int(status[:3]), False)


@pytest.mark.parametrize("status", ["304 Not Modified", "400 Bad Request", "429 Too Many", "503 Unavailable"])
def test_any_other_status_is_a_failure(status):
    with speaking(saying(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")) as (port, _):
        answer = send(f"http://127.0.0.1:{port}/")
    assert (answer.taken, answer.reason) == (False, f"HTTP {status[:3]}")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status, receiver):
    reply = f"HTTP/1.1 {status}\r\nLocation: {receiver.url}\r\nContent-Length: 0\r\n\r\n"
    with speaking(saying(reply)) as (port, _):
        answer = send(f"http://127.0.0.1:{port}/")
    assert (answer.taken, answer.reason) == (False, f"HTTP {status[:3]}: redirects are not followed")
    assert receiver.received == []


def test_an_answer_without_end_is_cut_short():
    def talk(connection):
        connection.sendall(b"HTTP/1.1 500 Oops\r\n\r\n")
        while True:
            connection.sendall(b"\x07never ending\n" * 100)

    with speaking(talk) as (port, _):
        answer = send(f"http://127.0.0.1:{port}/")
    assert answer.reason.startswith("HTTP 500: never ending never ending")
    assert answer.reason.isprintable()
    assert len(answer.reason) <= len("HTTP 500: ") + 200


def test_a_packed_answer_is_not_unpacked():
    reply = "HTTP/1.1 500 Oops\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain"
    with speaking(saying(reply)) as (port, _):
        assert send(f"http://127.0.0.1:{port}/").reason == "HTTP 500: plain"


@pytest.mark.parametrize("said", ["", "SSH-2.0-OpenSSH\r\n"], ids=["nothing", "no HTTP"])
def test_what_is_no_answer_is_a_failure_with_its_reason(said):
    with speaking(saying(said)) as (port, _):
        answer = send(f"http://127.0.0.1:{port}/")
    assert (answer.taken, answer.status) == (False, None)
    # The receiver closes before it has read all: which of the two is seen hangs on who is first.
    assert answer.reason.startswith(("RemoteProtocolError", "ReadError"))


def test_a_receiver_that_answers_byte_by_byte_does_not_get_more_time():
    ended = threading.Event()

    def talk(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not ended.wait(0.05):
            connection.sendall(b"x")

    with speaking(talk) as (port, _):
        answer = send(f"http://127.0.0.1:{port}/", seconds=0.5)
        ended.set()
    assert (answer.taken, answer.reason) == (False, "no answer within 0.5 seconds")


# --- where it goes --------------------------------------------------------------------------


def test_a_name_that_resolves_to_a_metadata_address_is_refused(resolve):
    with speaking(saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as (port, heard):
        resolve["innocent.test"] = ["127.0.0.1", "169.254.169.254"]
        answer = send(f"http://innocent.test:{port}/latest/meta-data")
        assert "169.254.169.254 is refused" in answer.reason
        assert heard == []


def test_the_next_address_of_a_name_is_tried(resolve):
    with speaking(saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as (port, heard):
        resolve["twice.test"] = ["127.0.0.2", "127.0.0.1"]
        assert send(f"http://twice.test:{port}/hook?to=team").taken
    assert b"POST /hook?to=team HTTP/1.1\r\n" in heard[0]
    assert f"host: twice.test:{port}\r\n".encode() in heard[0].lower()


def test_the_environments_proxy_is_not_asked(monkeypatch, receiver):
    with speaking(saying("HTTP/1.1 502 Proxy\r\nContent-Length: 0\r\n\r\n")) as (port, heard):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert send(receiver.url).taken
        assert heard == []


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70 + ".test"])
def test_a_name_that_does_not_resolve_is_a_failure_with_its_reason(host):
    answer = send(f"https://{host}/")
    assert not answer.taken
    assert answer.reason.isprintable()


# --- https ----------------------------------------------------------------------------------


@pytest.fixture
def https(tmp_path, monkeypatch):
    """A server's TLS context for the name ``receiver.test``, trusted by way of SSL_CERT_FILE."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("receiver.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.3"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = tmp_path / "certificate.pem", tmp_path / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    return context


OK = saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_https_goes_to_the_receiver_that_its_certificate_names(https, resolve):
    with speaking(OK, https) as (port, heard):
        resolve["receiver.test"] = ["127.0.0.1"]
        assert send(f"https://receiver.test:{port}/").taken
    assert f"host: receiver.test:{port}\r\n".encode() in heard[0].lower()


def test_https_with_the_certificate_of_another_name_is_refused(https, resolve):
    with speaking(OK, https) as (port, heard):
        resolve["other.test"] = ["127.0.0.1"]
        for host in ("other.test", "127.0.0.1"):
            answer = send(f"https://{host}:{port}/")
            assert (answer.taken, answer.status) == (False, None)
            assert "certificate" in answer.reason.lower()
        assert heard == []


def test_https_with_a_certificate_that_nobody_trusts_is_refused(https, resolve, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with speaking(OK, https) as (port, heard):
        resolve["receiver.test"] = ["127.0.0.1"]
        assert "certificate" in send(f"https://receiver.test:{port}/").reason.lower()
        assert heard == []
