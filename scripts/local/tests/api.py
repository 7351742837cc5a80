"""The API of a local pipeline as other people's tools see it: a browser, and schemathesis.

    api.py PROGRAM [browser|cases]

PROGRAM is the built program of the package local. `browser` needs chromium, `cases` schemathesis beside this
Python. Everything listens on loopback, and what is found stays below target/api.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import browser

HERE = pathlib.Path(__file__).resolve().parent
WORK = HERE.parent.parent.parent / "target" / "api"

# How long a pipeline, a page or an answer may take. Far more than it does.
SECONDS_MAX = 60

CASES_MIN = 2_000

# What schemathesis holds every answer against.
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_headers_conformance", "response_schema_conformance"]


def main():
    program, *chosen = sys.argv[1:]
    WORK.mkdir(parents=True, exist_ok=True)
    for name in chosen or ["browser", "cases"]:
        with pipeline(program) as ready:
            {"browser": the_page_can_be_tried_in_a_browser, "cases": no_answer_contradicts_the_document}[name](ready)


@contextlib.contextmanager
def pipeline(program):
    """A pipeline with ports and a directory of its own, stopped at the end of the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        command = [program, "--data-dir", folder / "data", "--ready-file", folder / "ready.json",
                   "--api-port", "0", "--queue-port", "0", "--table-port", "0"]
        with open(WORK / "pipeline.log", "w") as log:
            process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            until("the pipeline is ready", lambda: (folder / "ready.json").exists() or process.poll() is not None)
            expect(process.poll() is None, f"the pipeline ended: {(WORK / 'pipeline.log').read_text()}")
            yield json.loads((folder / "ready.json").read_text())
            expect(process.poll() is None, "the pipeline did not outlive the test")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(SECONDS_MAX)


def the_page_can_be_tried_in_a_browser(ready):
    """It shows the client edition. Authorised from the start, the example is submitted, and then asked for: it is
    stored."""
    expect(browser.CHROMIUM, "chromium is needed and not installed")
    with browser.Page(f"{ready['api']}/docs") as page:
        operation = "#operations-payments-{} ".format
        until("the operations are shown", lambda: page.count(".opblock") >= 3)
        expect(page.count(".opblock") == 3, "the page shows operations that are not for clients")
        expect(page.text("#operations-tag-payments"), "the operations have no tag")
        expect("/openapi.json" in page.text(".info"), "the page does not name the client edition")

        page.click(".btn.authorize")
        until("the token is in", lambda: "Logout" in page.text(".auth-container"))
        page.click(".btn-done")

        page.click(operation("submitPayment") + ".opblock-summary-control")
        until("the example is filled in", lambda: "paymentId" in page.value(operation("submitPayment") + "textarea"))
        payment = json.loads(page.value(operation("submitPayment") + "textarea"))
        submitted = executed(page, operation("submitPayment"))
        expect(submitted["status"] == "accepted", f"the example was answered {submitted}")

        page.click(operation("getPayment") + ".opblock-summary-control")
        until("the paymentId is filled in", lambda: page.value(operation("getPayment") + "tr[data-param-name=paymentId] input") == payment["paymentId"])
        outcome = executed(page, operation("getPayment"))
        expect(outcome["status"] == "stored" and outcome["payment"] == payment, f"the payment became {outcome}")
        expect(all(outcome[name] == submitted[name] for name in ("requestId", "bodyMd5")), f"another submission: {outcome}")

        page.show(operation("getPayment") + ".live-responses-table")
        page.screenshot(WORK / "docs.png")
        expect(not page.faults, f"the page reported {page.faults}")
        outside = [url for url in page.requested if not url.startswith((ready["api"], "data:", "about:"))]
        expect(page.requested and not outside, f"the page asked others: {outside}")
    print(f"browser: an example was submitted on the page and is stored; see {WORK / 'docs.png'}")


def executed(page, operation):
    """Presses the operation's button; the answer, which must be 200."""
    page.click(operation + ".execute")
    row = operation + ".live-responses-table .response "
    until("the answer is shown", lambda: page.text(row + ".response-col_status").strip())
    status = page.text(row + ".response-col_status").split()[0]
    answer = page.text(row + ".highlight-code code")
    expect(status == "200", f"{operation} was answered {status}: {answer}")
    return json.loads(answer)


def no_answer_contradicts_the_document(ready):
    """Thousands of requests, good and bad, made from the pipeline's own document."""
    environment = dict(os.environ, SCHEMATHESIS_HOOKS="api_hooks", PYTHONPATH=str(HERE), REMIT_USER=ready["userId"])
    seed = os.environ.get("REMIT_SEED") or str(int(time.time()))
    # One worker: with two, Python now and then breaks in its own compiler ("AST constructor recursion depth
    # mismatch"), which several threads must not enter at once.
    command = [pathlib.Path(sys.executable).parent / "schemathesis", "run", f"{ready['api']}/openapi.json",
               "--header", f"Authorization: Bearer {ready['token']}", "--checks", ",".join(CHECKS),
               "--max-examples", "700", "--workers", "1", "--seed", seed, "--no-color", "--mode", "all"]
    done = subprocess.run([str(part) for part in command], env=environment, cwd=WORK, capture_output=True, text=True, timeout=1800)
    said = done.stdout + done.stderr
    (WORK / "schemathesis.log").write_text(said)
    expect(done.returncode == 0, f"REMIT_SEED={seed}\n{said[-6000:]}")
    cases = int(re.search(r"([\d,]+) generated", said).group(1).replace(",", ""))
    expect(cases >= CASES_MIN, f"only {cases} cases")
    print(f"cases: {cases} requests, no 5xx, no status or answer that the document does not have (REMIT_SEED={seed})")


def until(what, condition):
    end = time.monotonic() + SECONDS_MAX
    while not condition():
        expect(time.monotonic() < end, f"waited {SECONDS_MAX} s until {what}")
        time.sleep(0.05)


def expect(condition, otherwise):
    if not condition:
        sys.exit(f"api: {otherwise}")


if __name__ == "__main__":
    main()
