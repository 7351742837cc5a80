"""Every alarm has its section in RUNBOOKS.md, every section an alarm, and every link there a target. Run by
scripts/check-infra; agreement.py asks the alarms that were applied."""

import pathlib
import re
import sys

INFRA = pathlib.Path(__file__).resolve().parent.parent


def main():
    terraform = (INFRA / "alarms.tf").read_text()
    runbooks = (INFRA / "RUNBOOKS.md").read_text()

    alarms = re.findall(r"^    ([a-z-]+) = \{\n      kind", terraform, re.M)
    places = re.findall(r"^    ([a-z-]+) +=", re.search(r"^  capacities = \{\n(.*?)^  \}", terraform, re.M | re.S).group(1), re.M)
    endings = re.findall(r'"\$\{place\}(-[a-z-]+)"', terraform)
    expect(len(alarms) > 10 and len(places) > 3 and len(endings) > 1, f"alarms.tf is not understood: {alarms}, {places}, {endings}")
    alarms += [place + ending for place in places for ending in endings]

    sections = re.findall(r"^### (.+)$", runbooks, re.M)
    expect(len(sections) == len(set(sections)), "a section stands twice")
    expect(set(sections) == set(alarms), f"only alarms, or only sections: {sorted(set(sections) ^ set(alarms))}")

    for file, anchor in re.findall(r"\]\(([\w./]*)#([\w-]+)\)", runbooks):
        text = (INFRA / file).read_text() if file else runbooks
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)}
        expect(anchor in anchors, f"no section {anchor} in {file or 'RUNBOOKS.md'}")


def expect(condition, otherwise):
    if not condition:
        sys.exit(f"runbooks_test: {otherwise}")


if __name__ == "__main__":
    main()
