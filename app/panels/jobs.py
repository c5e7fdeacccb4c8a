"""Panels of the library's jobs, and of the first start of an empty library.

Running jobs are followed; failed ones are shown with their reason until they are dismissed.
"""

import pandas as pd
import streamlit as st

from app import resources
from app.charts import atoms as figures
from app.components.token_strip import Row, Token, token_strip
from app.format.text import count, duration, inert, visible
from app.panels.build.form import form_of
from app.shell import chrome, urls, widgets
from itda_core.common.errors import UserError
from itda_core.jobs.read import read_jobs, read_log
from itda_core.jobs.state import UNREADABLE, JobState
from itda_core.library.starter import add_starter

_UNFINISHED = ("failed", "lost")
_LISTED = 8
_INTERVALS, _LONG_INTERVAL = {1: 15, 2: 60}, 3  # seconds between updates → of jobs up to this age, and of others


def is_running(jobs: list[JobState]) -> bool:
    """Return whether any job is running."""
    return any(job.status == "running" for job in jobs)


def show_start(jobs: list[JobState]) -> None:
    """Show the options for a library with nothing that was built in it.

    On a first start, the demo is built automatically.
    """
    failed = any(job.status in _UNFINISHED and not job.is_dismissed for job in jobs)
    if resources.demo_is_allowed() and not jobs:
        resources.start_demo_once()
        library = resources.library()
        is_empty = not library.ids()
        try:
            is_added = bool(add_starter(library)) and is_empty
        except UserError as error:  # the demo is built all the same
            st.error(inert(str(error)))
            return
        if is_added:
            st.rerun()  # with something to read
        return
    if failed:
        st.text("A job failed; the Jobs page has the reason. The demo could not be built.")
    else:
        st.text("The demo builds dictionaries of small models that come with the project, and compares them.")
    if st.button("Try again" if failed else "Build the demo", type="primary", icon=":material/play_arrow:"):
        resources.start("demo")
        st.rerun()
    st.text("Or in a terminal:")
    st.code("itda demo\nitda build MODEL --corpus CORPUS --layers 3", language=None)
    st.page_link(urls.BUILD_PAGE, label="Build a dictionary", icon=":material/add:")


def offer_work(words: str, button: str, icon: str, arguments: list[str], *, follow: bool = True) -> None:
    """Show that something is not computed yet, and a button that computes it.

    The page reruns once no job is running any more.

    Args:
        words: description of what is not computed.
        button: label of the button.
        icon: icon of the button.
        arguments: the `itda` command that computes it.
        follow: whether running jobs are shown below; a page that offers several computations shows them once itself.
    """
    jobs = read_jobs(resources.library().root)
    running = [job for job in jobs if job.status == "running"]
    last = next((job for job in jobs if job.arguments == arguments), None)
    with st.container(border=True):
        st.text(words)
        if running:
            st.caption("Available once the running job has ended.")
        elif last is not None and last.status in _UNFINISHED:
            st.error(inert(f"Failed: {last.error}"))
        if st.button(button, icon=icon, disabled=bool(running)):
            resources.start(*arguments)
            st.rerun()
    if follow:
        show_jobs(running, brief=True)


def show_jobs(jobs: list[JobState], brief: bool = False) -> None:
    """Follow running jobs; with `brief` set, nothing but their progress is shown."""
    running = [job for job in jobs if job.status == "running"]
    if running:
        every = _interval(running)
        st.fragment(_follow, run_every=every)(resources.contents(), brief, every)


def show_ended(jobs: list[JobState]) -> None:
    """Show the jobs that ended and were not dismissed, the newest first."""
    ended = [job for job in jobs if job.status != "running" and not job.is_dismissed]
    if not ended:
        return
    listed = ended[:_LISTED]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader("Ended")
        st.button("Dismiss these", icon=":material/clear_all:", type="tertiary", on_click=_dismiss, args=[listed])
    for job in listed:
        _show_ended(job)
    if len(ended) > _LISTED:
        st.caption(f"{len(ended) - _LISTED} older ones are shown once some of these are dismissed.")


def show_failure(jobs: list[JobState]) -> None:
    """Show the newest job in one line if it failed, until it is dismissed."""
    if not jobs or jobs[0].is_dismissed or jobs[0].status not in _UNFINISHED:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge("Failed", color="red", icon=":material/error:")
        st.text(visible(_title(jobs[0])))
        st.page_link(urls.JOBS_PAGE, label="See why", icon=":material/pending_actions:")
        st.button("Dismiss", type="tertiary", icon=":material/close:", on_click=_dismiss, args=[[jobs[0]]])


def _interval(jobs: list[JobState]) -> int:
    """Return the seconds between updates of running jobs: the longer the youngest runs, the less a second shows."""
    age = min(job.age for job in jobs if job.status == "running")
    return next((every for every, until in _INTERVALS.items() if age < until), _LONG_INTERVAL)


def _follow(known: frozenset[tuple[str, bool | str]], brief: bool, every: int) -> None:
    """Show running jobs.

    The page reruns when the library has new contents, the jobs have ended, or they are to be updated less often.
    """
    running = [job for job in read_jobs(resources.library().root) if job.status == "running"]
    if not running or resources.contents() != known or _interval(running) != every:
        st.rerun()
    for job in running:
        with st.container(border=True):
            _show_running(job, brief)


def _title(job: JobState) -> str:
    """Return a job's title; of a build, with its model, layers and corpus."""
    form = form_of(job.arguments)
    return job.title if form is None else f"Build {form.model}, layers {form.layers}, on {form.corpus}"


def _show_running(job: JobState, brief: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(visible(_title(job)) if job.started else "Starting")
        if not brief:
            if job.finished or len(job.growth) != 1:
                _offer(job.finished)
            _offer_cancel(job)
    done = f"{job.done:,} of {job.total:,}" if job.total else count(job.done) if job.done else ""
    words = [job.stage, f"{done} {job.unit}" if done else ""]
    if job.rate:
        words.append(f"{job.rate:,.0f} {job.unit} a second")
    if job.seconds_left is not None:
        words.append(f"{duration(job.seconds_left)} left in this step")
    text = inert(", ".join(word for word in words if word))
    st.progress(min(1.0, job.done / job.total) if job.total else 0.0, text=text)
    if job.note:
        st.caption(inert(job.note))
    if brief:
        return
    points = pd.DataFrame(
        [(name, rows, atoms) for name, history in job.growth.items() for rows, atoms, *_ in history],
        columns=["dictionary", "rows", "atoms"],
    )
    if not points.empty:
        st.plotly_chart(
            figures.growth(points), key=f"growth_{job.id}", config=figures.CONFIG, alt="Growth of the dictionaries"
        )
        widgets.download(points, key=f"growth_data_{job.id}", file="growth.csv")
    _show_log(job)


def _offer(finished: list[str]) -> None:
    """Show a link to the first dictionary while others are still being built."""
    names = chrome.dictionary_names()
    ready = next((dictionary_id for dictionary_id in finished if dictionary_id in names), None)
    if ready is None:
        st.caption("The first dictionary will open from here when it is complete.")
    else:
        row = Row([Token(f"Read {names[ready]}")], href=urls.atoms_address(ready), icon="arrow_forward")
        token_strip([row], key=f"offer_{ready}", style="button")


def _offer_cancel(job: JobState) -> None:
    """Show a button that cancels a job after confirmation."""
    with st.popover("Cancel", icon=":material/close:", type="tertiary", key=f"cancel_{job.id}"):
        st.text("Cancel this job? What it has finished stays, and the same build goes on where this one stopped.")
        st.button("Yes, cancel it", key=f"cancel_now_{job.id}", on_click=_cancel, args=[job.id])


def _cancel(job_id: str) -> None:
    try:
        resources.cancel_job(job_id)
    except UserError as error:
        st.toast(inert(str(error)), icon=":material/error:")


def _dismiss(jobs: list[JobState]) -> None:
    for job in jobs:
        try:
            resources.dismiss_job(job.id)
        except UserError as error:
            st.toast(inert(str(error)), icon=":material/error:")


def show_outcome(job: JobState) -> None:
    """Show how a job that the user followed ended, and links to its dictionaries."""
    if job.status != "done":
        _show_ended(job, is_open=True)
        return
    with st.container(border=True):
        st.text(f"{visible(_title(job))}: done.")
        names = chrome.dictionary_names()
        ready = [each for each in job.finished if each in names]
        if not ready:
            st.caption("The library already had all of its dictionaries.")
        for each in ready:
            chrome.dictionary_link(each, f"Read {names[each]}", icon="arrow_forward", place="outcome")
        _show_log(job)


def _show_ended(job: JobState, is_open: bool = False) -> None:
    title = f"Job {job.id}" if job.title == UNREADABLE else _title(job)
    icons = {"done": "check", "cancelled": "block"}
    with st.expander(
        f"{inert(title)}, {'failed' if job.status in _UNFINISHED else job.status}",
        icon=f":material/{icons.get(job.status, 'error')}:",
        expanded=is_open or job.status in _UNFINISHED,
    ):
        if job.status in _UNFINISHED:
            at = "" if job.title == UNREADABLE else f"At step “{job.stage}”: "
            st.error(inert(f"{at}{job.error or 'no reason was written'}"))
        elif job.error:
            st.text(f"{visible(job.error[:1].upper() + job.error[1:])}.")
        if job.started:
            st.caption(f"{inert(widgets.when(job.started))} to {inert(widgets.when(job.updated))}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if job.status != "done" and (form := form_of(job.arguments)) is not None:
                widgets.link("Try again", urls.address(form), "refresh", key=f"again_{job.id}")
            st.button(
                "Dismiss",
                icon=":material/close:",
                type="tertiary",
                key=f"dismiss_{job.id}",
                on_click=_dismiss,
                args=[[job]],
            )
        _show_log_text(job)


def _show_log(job: JobState, is_open: bool = False) -> None:
    with st.expander("Log", expanded=is_open):
        _show_log_text(job)


def _show_log_text(job: JobState) -> None:
    log = read_log(resources.library().root, job.id)
    # A progress bar rewrites its line; only its last state is shown.
    lines = [line.rsplit("\r", 1)[-1] for line in log.replace("\r\n", "\n").splitlines(keepends=False)]
    if log:
        st.code("\n".join(lines[-200:]), language=None, height=240)
    else:
        st.caption("Started in a terminal, which has its log.")
