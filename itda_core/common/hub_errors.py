"""Explain a failed request to the Hugging Face Hub in one line."""

from collections.abc import Iterator

from huggingface_hub.errors import HfHubHTTPError


def answer_of_hub(name: str, error: BaseException) -> str | None:
    """Return a remedy for a request that the Hub refused.

    None if the Hub did not answer with an error.
    """
    answers = [cause.response.status_code for cause in causes_of(error) if isinstance(cause, HfHubHTTPError)]
    if 401 in answers:
        return f"the Hub does not know the token that was sent for {name}: set HF_TOKEN to a valid one, or unset it"
    if 403 in answers:
        return f"the Hub does not let your token read {name}: set HF_TOKEN to one that may"
    if 429 in answers:
        return f"the Hub answers no more requests for now: wait a few minutes, then ask for {name} again"
    failed = [answer for answer in answers if answer >= 500]
    return f"the Hub answered {failed[0]} for {name}: try again later" if failed else None


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its chain of causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
