"""Notices of runs that failed: a line in the log always, an e-mail and a webhook (Slack's, for instance) by setting.

Belongs here: what a notice says, how it is sent, and the sensor that does so. No secret is in a notice, nor in what is
raised when one cannot be sent. https://docs.dagster.io/guides/automate/run-status-sensors
"""

import smtplib
import ssl
from email.message import EmailMessage

import dagster as dg
import requests

from kwcolor_pipeline.orchestration.failures import check_sentence, is_failed_check, sentence_of, without_secrets
from kwcolor_pipeline.settings import NoticeSettings, Settings

_TIMEOUT = 30
_SENTENCES = 5


class NoticeFailed(Exception):
    """A notice that could not be sent; the message says what to look at and holds no secret."""


def failure_notice(context: dg.RunFailureSensorContext, settings: Settings) -> str:
    """What failed, why, and where to look: the first line is fit for a subject."""
    run = context.dagster_run
    year = run.tags.get("dagster/partition")
    of_assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    what = " ".join(filter(None, [of_assets or run.job_name, year]))
    evaluations = context.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [record.event_log_entry.dagster_event for record in evaluations.records]
    sentences = [check_sentence(event.asset_check_evaluation_data) for event in events if event]
    for step in context.get_step_failure_events():
        error = step.step_failure_data.error
        if not is_failed_check(error):
            sentences.append(f"{step.step_key}: {sentence_of(error)[0]}")
    told = [sentence for sentence in sentences if sentence][:_SENTENCES] or [context.failure_event.message or ""]
    page = f"{settings.dagster_ui_url.rstrip('/')}/runs/{run.run_id}"
    return without_secrets("\n".join([f"Run {run.run_id[:8]} failed: {what}", *told, page]), settings)


def send_notice(notices: NoticeSettings, text: str) -> None:
    """Send the text wherever the settings say; nowhere by default.

    Raises NoticeFailed where one of the ways fails, after the others were tried.
    """
    problems = []
    if notices.webhook_url:
        problems.append(_post(notices.webhook_url.get_secret_value(), text))
    if notices.email_to:
        problems.append(_mail(notices, text))
    told = [problem for problem in problems if problem]
    if told:
        raise NoticeFailed(" ".join(told))


def _post(address: str, text: str) -> str | None:
    """What hindered it; None when it was taken."""
    try:
        answer = requests.post(address, json={"text": text}, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:  # its message holds the address, which is the secret
        return f"The webhook could not be reached ({type(error).__name__}); look at KWCOLOR_NOTICES__WEBHOOK_URL."
    if not 200 <= answer.status_code < 300:
        return f"The webhook answered {answer.status_code}; look at KWCOLOR_NOTICES__WEBHOOK_URL."
    return None


def _mail(notices: NoticeSettings, text: str) -> str | None:
    """What hindered it; None when the mail server took it for every recipient."""
    message = EmailMessage()
    message["Subject"] = f"kwcolor: {text.partition(chr(10))[0]}"
    message["From"] = notices.email_from or notices.email_to[0]
    message["To"] = ", ".join(notices.email_to)
    message.set_content(text)
    secure = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(notices.smtp_host, notices.smtp_port, timeout=_TIMEOUT, context=secure)
            if notices.smtp_security == "tls"
            else smtplib.SMTP(notices.smtp_host, notices.smtp_port, timeout=_TIMEOUT)
        ) as server:
            if notices.smtp_security == "starttls":
                server.starttls(context=secure)
            if notices.smtp_user:
                password = notices.smtp_password
                server.login(notices.smtp_user, password.get_secret_value() if password else "")
            refused = server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        return (
            f"{notices.smtp_host}:{notices.smtp_port} did not take the e-mail ({type(error).__name__}); look at the "
            "KWCOLOR_NOTICES__SMTP_… and EMAIL_… settings."
        )
    return f"{notices.smtp_host} refused {', '.join(refused)}." if refused else None


@dg.run_failure_sensor(
    name="tell_of_failed_runs",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes a line to the log for every run that fails, and sends it where KWCOLOR_NOTICES__… says.",
)
def failure_sensor(context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]) -> None:
    """Tell of one failed run. A notice that cannot be sent fails the tick, which the UI shows."""
    text = failure_notice(context, settings)
    context.log.error(text)
    try:
        send_notice(settings.notices, text)
    except NoticeFailed as failed:
        context.log.error(str(failed))
        raise NoticeFailed(str(failed)) from None
