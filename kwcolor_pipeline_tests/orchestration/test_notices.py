"""Notices of failed runs: what they say, that they arrive, and that no secret is in them."""

import contextlib
import http.server
import json
import socketserver
import threading

import dagster as dg
import pytest

from kwcolor_pipeline.orchestration.failures import without_secrets
from kwcolor_pipeline.orchestration.notices import NoticeFailed, failure_notice, failure_sensor, send_notice
from kwcolor_pipeline.settings import NoticeSettings, SettingsProblem, load_settings

TEXT = "Run 1234 failed: critic\nThe disk is full.\nhttp://127.0.0.1:3000/runs/1234"


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def webhook(status=200):
    """A server that takes posts; gives its address and what it was sent."""
    taken = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    with serving(http.server.HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/services/s3cret", taken


@contextlib.contextmanager
def mail_server(refuse=False):
    """A mail server that knows as much SMTP as one message needs; gives its port and what it was told."""
    told = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            in_message = False
            for line in map(bytes.strip, self.rfile):
                told.append(line.decode())
                if in_message:
                    in_message = line != b"."
                    if not in_message:
                        self.wfile.write(b"250 taken\r\n")
                elif line == b"data":
                    in_message = True
                    self.wfile.write(b"354 go on\r\n")
                elif line == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"550 no\r\n" if refuse and line.startswith(b"rcpt") else b"250 well\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    with serving(server) as port:
        yield port, told


def test_by_default_nothing_is_sent_anywhere():
    send_notice(NoticeSettings(), TEXT)


def test_a_webhook_gets_the_text():
    with webhook() as (address, taken):
        send_notice(NoticeSettings(webhook_url=address), TEXT)
    assert taken == [{"text": TEXT}]


def test_an_e_mail_has_the_first_line_as_its_subject():
    with mail_server() as (port, told):
        send_notice(
            NoticeSettings(email_to=["a@example.org", "b@example.org"], smtp_host="127.0.0.1", smtp_port=port), TEXT
        )
    assert "Subject: kwcolor: Run 1234 failed: critic" in told
    assert "From: a@example.org" in told
    assert "To: a@example.org, b@example.org" in told
    assert "The disk is full." in told
    assert [line for line in told if line.startswith("rcpt")] == ["rcpt TO:<a@example.org>", "rcpt TO:<b@example.org>"]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_does_not_take_it_is_told_without_its_address(status):
    with webhook(status) as (address, taken), pytest.raises(NoticeFailed) as raised:
        send_notice(NoticeSettings(webhook_url=address), TEXT)
    assert len(taken) == 1  # a redirection is not followed
    assert str(status) in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_when_one_way_fails_the_others_are_tried():
    with mail_server() as (port, told), pytest.raises(NoticeFailed) as raised:
        send_notice(
            NoticeSettings(
                webhook_url="http://127.0.0.1:9/s3cret",
                email_to=["a@example.org"],
                smtp_host="127.0.0.1",
                smtp_port=port,
            ),
            TEXT,
        )
    assert "The webhook could not be reached (ConnectionError)" in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert "The disk is full." in told


def test_a_mail_server_that_refuses_is_told():
    with mail_server(refuse=True) as (port, _), pytest.raises(NoticeFailed, match="SMTPRecipientsRefused"):
        send_notice(NoticeSettings(email_to=["a@example.org"], smtp_host="127.0.0.1", smtp_port=port), TEXT)


def test_a_password_is_not_sent_in_the_clear():
    with pytest.raises(SettingsProblem, match="starttls or tls"):
        load_settings(notices={"smtp_host": "mail.example.org", "smtp_user": "me", "smtp_password": "s3cret"})
    load_settings(notices={"smtp_host": "localhost", "smtp_user": "me", "smtp_password": "s3cret"})


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_settings(home=tmp_path, nara={"api_key": "k3y"}, dagster_ui_url="http://dagster.example.org/")


def failed_run(settings, instance, failure):
    """The context that Dagster gives the sensor for a run that failed so."""

    @dg.asset
    def photographs() -> None:
        raise failure

    return context_of(dg.Definitions(assets=[photographs]), settings, instance)


def context_of(definitions, settings, instance):
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, raise_on_error=False, tags={"dagster/partition": "1943"})
    return dg.build_run_status_sensor_context(
        sensor_name="tell_of_failed_runs",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        resources={"settings": settings},
    ).for_run_failure()


def test_a_notice_says_what_failed_why_and_where_to_look(settings, instance):
    context = failed_run(settings, instance, SettingsProblem("Plug the disk in."))
    first, why, where = failure_notice(context, settings).splitlines()
    assert first == f"Run {context.dagster_run.run_id[:8]} failed: __ASSET_JOB 1943"
    assert why == "photographs: Plug the disk in."
    assert where == f"http://dagster.example.org/runs/{context.dagster_run.run_id}"


def test_a_failed_check_says_why_itself(settings, instance):
    @dg.asset(check_specs=[dg.AssetCheckSpec("some_were_stored", asset="photographs", blocking=True)])
    def photographs():
        yield dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(check_name="some_were_stored", passed=False, description="None was.")]
        )

    context = context_of(dg.Definitions(assets=[photographs]), settings, instance)
    assert failure_notice(context, settings).splitlines()[1:-1] == ["None was."]


def test_no_secret_is_in_a_notice(settings, instance):
    context = failed_run(settings, instance, OSError("GET https://me:pa55@host/db?key=k3y failed"))
    text = failure_notice(context, settings)
    assert "https://***@host/db?key=*** failed" in text
    assert "k3y" not in text
    assert "pa55" not in text
    assert without_secrets("mail me@example.org at http://host/@x", settings) == "mail me@example.org at http://host/@x"


def test_the_sensor_writes_a_line_and_fails_visibly_where_a_notice_cannot_be_sent(settings, instance, capfd):
    settings.notices = NoticeSettings(webhook_url="http://127.0.0.1:9/s3cret")
    context = failed_run(settings, instance, SettingsProblem("Plug the disk in."))
    with pytest.raises(NoticeFailed) as raised:
        failure_sensor(context)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__suppress_context__
    lines = capfd.readouterr().err
    assert "photographs: Plug the disk in." in lines
    assert "The webhook could not be reached" in lines
    assert "s3cret" not in lines
