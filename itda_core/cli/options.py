"""Options, exit codes and helpers that several commands share."""

import argparse
import os
import sys
from contextlib import AbstractContextManager
from typing import Any

from itda_core.jobs.job import JOB_VARIABLE, Job, running_job

DONE, FAULT, MISTAKE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141


def json_option(parser: Any) -> None:
    """Let a command print one JSON document on stdout."""
    parser.add_argument("--json", action="store_true", help="print only a JSON document on stdout")


def quiet() -> None:
    """Keep other libraries' progress bars off stderr, where ours is."""
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    if "transformers" in sys.modules:  # otherwise it asks huggingface_hub when it is imported, which takes seconds
        from transformers.utils import logging

        logging.disable_progress_bar()


def command_job(args: argparse.Namespace, title: str) -> AbstractContextManager[Job]:
    """Run a command's work as a job of its library."""
    return running_job(args.library, title, os.environ.get(JOB_VARIABLE))
