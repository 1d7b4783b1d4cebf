"""Commands of the documentation, which the stages run as they stand."""

import re

from host import REPOSITORY, Failure


def blocks(file, heading):
    """The shell blocks below a heading of a Markdown file, up to the next heading of its level."""
    text = (REPOSITORY / file).read_text()
    section = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{heading.split()[0]} |\Z)", text, re.M | re.S)
    found = re.findall(r"^```sh\n(.*?)^```$", section[1], re.M | re.S) if section else []
    if not found:
        raise Failure(f"{file} has no shell block below {heading!r}")
    return found
