"""RUNBOOKS.md has no section twice, and every link there has a target. Run by scripts/check-infra. That alarms and
sections are the same is asserted in stack.tftest.hcl."""

import pathlib
import re
import sys

INFRA = pathlib.Path(__file__).resolve().parent.parent


def main():
    runbooks = (INFRA / "RUNBOOKS.md").read_text()
    sections = re.findall(r"^### (.+)$", runbooks, re.M)
    expect(len(sections) == len(set(sections)), "a section stands twice")

    for file, anchor in re.findall(r"\]\(([\w./]*)#([\w-]+)\)", runbooks):
        text = (INFRA / file).read_text() if file else runbooks
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)}
        expect(anchor in anchors, f"no section {anchor} in {file or 'RUNBOOKS.md'}")


def expect(condition, otherwise):
    if not condition:
        sys.exit(f"runbooks_test: {otherwise}")


if __name__ == "__main__":
    main()
